# SPDX-License-Identifier: Apache-2.0
"""One Ceph of the lab, in which each cloud with real guests keeps volumes (type ``ceph``), and images (store ``ceph``)
beside its files."""

from __future__ import annotations

import dataclasses

from tests.lab import ceph
from tests.lab.ceph import Ceph
from tests.lab.cloud import Cloud
from tests.lab.places import LAB, locked
from tests.lab.spec import FIRST_PORT, KNOWN, PORTS_OF_A_CLOUD, Additions, CloudSpec

NAME = "ceph"


def cluster() -> Ceph:
    return Ceph(LAB / NAME)


def backed(spec: CloudSpec) -> CloudSpec:
    """With Ceph, which runs then. As it was when it has a backend of that name, only pretends to run servers, or runs:
    others may use it, and should not see it stop."""
    if spec.virt != "libvirt" or not ceph.available():
        return spec
    own, mine = spec.additions, cluster()
    if NAME in own.cinder_backends and not _uses(spec):
        return spec
    now = Cloud(spec.name)
    if now.running and not _uses(now.spec):
        return spec
    with locked(NAME):
        mine.up(FIRST_PORT + len(KNOWN) * PORTS_OF_A_CLOUD)
    more = mine.additions(NAME)
    sections = {file: dict(entries) for file, entries in own.sections.items()}
    for file, entries in more.sections.items():
        for section, options in entries.items():
            merged = sections.setdefault(file, {})
            merged[section] = {**merged.get(section, {}), **options}
    additions = Additions(
        cinder_backends={**own.cinder_backends, **more.cinder_backends},
        glance_stores={**own.glance_stores, **more.glance_stores},
        sections=sections,
    )
    return dataclasses.replace(spec, additions=additions)


def give_keys(cloud: Cloud) -> None:
    """Each libvirtd of the cloud gets the key with which its guests open volumes."""
    if _uses(cloud.spec):
        for host in cloud.spec.host_names:
            cluster().give_key(cloud.home.var / "libvirt" / host / "run/libvirt-sock")


def rest() -> None:
    """Stop Ceph, unless a cloud runs that uses it."""
    clouds = [cloud for cloud in map(Cloud, KNOWN) if cloud.exists and _uses(cloud.spec)]
    with locked(NAME):
        if not any(cloud.processes.pid("cinder-volume") for cloud in clouds):
            cluster().down()


def _uses(spec: CloudSpec) -> bool:
    backend = spec.additions.cinder_backends.get(NAME, {})
    return backend.get("rbd_ceph_conf") == str(cluster().conf)
