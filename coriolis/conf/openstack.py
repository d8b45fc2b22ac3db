# SPDX-License-Identifier: Apache-2.0
"""Options of a worker that serves OpenStack clouds."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "openstack"
#: Where providers, which know no configuration, find ``ceph_clusters_file``.
CEPH_CLUSTERS = "CORIOLIS_OPENSTACK_CEPH_CLUSTERS"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "ceph_clusters_file",
        default="",
        help="An INI file that says which Ceph clusters this worker may enter by itself, for which cloud, and where "
        "the key is. Empty: volumes in Ceph are reached as any others are, through Cinder, Nova and Glance. The worker "
        "gives the path to its children in the environment variable CORIOLIS_OPENSTACK_CEPH_CLUSTERS, which may "
        "also be set from outside.",
    ),
)
