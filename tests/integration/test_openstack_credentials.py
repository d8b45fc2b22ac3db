# SPDX-License-Identifier: Apache-2.0
"""How a real Keystone is convinced otherwise than by a password, and how a real cloud convinces us: application
credentials of a plain member, and TLS with an authority of the cloud's own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import secrets
import ssl
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coriolis.providers.api import Context, Invalid, Layout, PlannedDisk, ProviderError, Unauthorized
from coriolis.providers.contract import blocks
from coriolis.providers.openstack.nfs_access import SHARES
from coriolis.providers.openstack.provider import connect
from tests.contract.openstack_project import InNewCloud, InOldCloud, Project
from tests.integration.link_sides import side
from tests.integration.openstack_site import Desk, scratch_file, shares
from tests.lab import content
from tests.lab.faults import faulty_region, proxied
from tests.lab.fixtures import LabCloud
from tests.service.standalone_process import running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.openstack,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MIB = 1 << 20
SERVER = "credentials"
VALIDATE = {"validate-connection": None}
ALL = ("keystone", "nova", "glance", "neutron", "cinder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """``info``: of an application credential of the project's member; ``server``: id of the project's only one."""

    project: Project
    info: dict[str, Any]
    server: str
    desk: Desk
    log: Path

    @property
    def secret(self) -> str:
        return str(self.info["application_credential_secret"])

    def validated(self, info: dict[str, Any]) -> tuple[bool, str]:
        path = f"/endpoints/{self.desk.endpoint('openstack', info)}/actions"
        answer = self.desk.ask("POST", path, VALIDATE)["validate-connection"]
        return answer["valid"], str(answer["message"])


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger(__name__), scratch=tmp_path)


class Credentials:
    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, lab_cloud: LabCloud, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        folder = tmp_path_factory.mktemp("credentials")
        (folder / "state").mkdir(mode=0o700)
        sdk = project.sdk
        server = sdk.compute.create_server(
            name=SERVER,
            image_id=sdk.image.find_image(content.GUEST_IMAGE).id,
            flavor_id=sdk.compute.find_flavor("lab.nano").id,
            networks=[{"uuid": sdk.network.find_network(content.NETWORK).id}],
        )
        sdk.compute.wait_for_server(server, wait=600)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(SHARES, str(scratch_file(folder, shares([lab_cloud]))))
            patch.setenv("no_proxy", "*")
            with running(folder / "state", {"DEFAULT": {"debug": True}}) as standalone:
                info = {"auth_url": project.info["auth_url"], "region_name": lab_cloud.region, **credential(sdk)}
                yield Site(project=project, info=info, server=server.id, desk=Desk(standalone), log=folder / "out")

    def test_it_is_all_that_an_endpoint_needs(self, site: Site) -> None:
        desk = site.desk
        assert site.validated(site.info) == (True, "None")
        origin, destination = (desk.endpoint("openstack", site.info) for _ in range(2))
        assert site.secret not in json.dumps(desk.ask("GET", f"/endpoints/{origin}"))
        listed = desk.ask("GET", f"/endpoints/{origin}/instances")["instances"]
        assert [one["id"] for one in listed] == [site.server]
        order = {
            "origin_endpoint_id": origin,
            "destination_endpoint_id": destination,
            "instances": [SERVER],
            "network_map": {content.NETWORK: content.NETWORK},
            "storage_mappings": {"default": "fast"},
        }
        assert desk.ask("POST", "/migrations?dry_run=true", {"migration": order})["dry_run"]["possible"]

    def test_it_writes_volumes(self, site: Site, context: Context) -> None:
        cloud = connect(site.info, context)
        disk = PlannedDisk(disk_id="root", size_bytes=300 * MIB, boot=True)
        try:
            made = cloud.volumes.create(disk, Layout(name=SERVER, disks=(disk,)), SERVER, {}, context)
            with cloud.write_blocks.open_sink(made, context) as sink:
                blocks.write_sink(sink, [(0, b"bytes")])
                assert blocks.read_windows(sink, disk.size_bytes)[0][1].startswith(b"bytes")
        finally:
            cloud.volumes.delete(None, SERVER, context)
            cloud.close()
        assert list(site.project.sdk.block_storage.volumes()) == []

    @pytest.mark.parametrize(
        ("more", "kind", "said"),
        [
            ({"application_credential_secret": secrets.token_hex(24)}, Unauthorized, "the credentials are wrong"),
            ({"application_credential_id": secrets.token_hex(16)}, Unauthorized, "the credentials are wrong"),
            ({"application_credential_secret": ""}, Invalid, "secret"),
        ],
        ids=["wrong secret", "no such credential", "no secret"],
    )
    def test_a_wrong_one_is_refused_and_its_secret_is_not_said(
        self, site: Site, context: Context, more: dict[str, str], kind: type[ProviderError], said: str
    ) -> None:
        info = {**site.info, **more}
        refused = refusal(info, context)
        assert isinstance(refused, kind)
        valid, message = site.validated(info)
        assert not valid
        told = [message, "".join(traceback.format_exception(refused)), site.log.read_text()]
        assert all(said in text for text in told[:2])
        secret = more.get("application_credential_secret") or site.secret
        assert not any(secret in text for text in told)

    def test_one_that_its_user_takes_back_is_refused(self, site: Site, context: Context) -> None:
        """And a volume that is asked for with it is not taken for one that is gone."""
        sdk = site.project.sdk
        mine = credential(sdk)
        info = {**site.info, **mine}
        assert refusal(info, context) is None
        sdk.identity.delete_application_credential(sdk.current_user_id, mine["application_credential_id"])
        assert isinstance(refusal(info, context), Unauthorized)
        with contextlib.closing(connect(info, context)) as cloud, pytest.raises(Unauthorized):
            cloud.volumes.delete(str(uuid.uuid4()), SERVER, context)


class TestInTheOldCloud(Credentials, InOldCloud):
    pass


class TestInTheNewCloud(Credentials, InNewCloud):
    def test_its_certificates_are_those_of_an_authority_that_the_endpoint_names(
        self, lab_cloud: LabCloud, site: Site, context: Context, tmp_path: Path
    ) -> None:
        own, other = (side(tmp_path / name, "localhost") for name in ("own", "other"))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(own.certificate, own.key)
        with proxied(lab_cloud, *ALL, tls=tls) as proxies:
            info = {**site.info, "auth_url": f"{proxies['keystone'].url}/v3", "region_name": faulty_region(lab_cloud)}
            for more in ({}, {"cacert": other.authority.read_text()}):
                refused = refusal({**info, **more}, context)
                assert isinstance(refused, Unauthorized)
                assert "give the CA as cacert, or set allow_untrusted" in str(refused)
            assert not any(proxy.seen for proxy in proxies.values())
            assert refusal({**info, "allow_untrusted": True}, context) is None
            with contextlib.closing(connect({**info, "cacert": own.authority.read_text()}, context)) as cloud:
                cloud.check(context)
            assert all(proxy.seen for proxy in proxies.values())


def credential(sdk: Any) -> dict[str, str]:
    """A new application credential of the connection's user, as fields of a connection info."""
    made = sdk.identity.create_application_credential(
        sdk.current_user_id, name=f"coriolis {secrets.token_hex(4)}", roles=[{"name": "member"}]
    )
    return {"application_credential_id": made.id, "application_credential_secret": made.secret}


def refusal(info: dict[str, Any], context: Context) -> ProviderError | None:
    """Why Keystone gives no token."""
    try:
        with contextlib.closing(connect(info, context)) as cloud:
            assert cloud.cloud.project_id
    except ProviderError as error:
        return error
    return None
