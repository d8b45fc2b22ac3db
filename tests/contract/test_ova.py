# SPDX-License-Identifier: Apache-2.0
"""The ova provider under the contract suite: one OVA, and a folder with a bit of everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from coriolis.providers.api import Instance, Invalid, ProviderError
from coriolis.providers.contract import ProviderContract
from coriolis.providers.contract.subject import Mutate, Options
from tests import ovf_packages as build

DATA = build.content(4 << 20)


class TestOva(ProviderContract):
    provider = "ova"

    @pytest.fixture
    def options(self, tmp_path: Path) -> Options:
        return {"path": str(build.ova(tmp_path / "web.ova", DATA))}

    @pytest.fixture
    def failing_options(self, tmp_path: Path) -> list[tuple[Options, type[ProviderError]]]:
        wrong = tmp_path / "wrong.ova"
        wrong.write_bytes(b"not a tar" * 1000)
        return [
            ({"path": str(tmp_path / "nowhere.ova")}, Invalid),
            ({"path": "relative.ova"}, Invalid),
            ({"path": str(wrong)}, Invalid),
            ({"path": "/dev/null"}, Invalid),
        ]


class TestFolder(ProviderContract):
    provider = "ova"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "exports"
        (folder / "deep").mkdir(parents=True)
        build.ova(folder / "b.ova", DATA)
        build.vmdk(folder / "deep" / "web-disk1.vmdk", DATA)
        (folder / "deep" / "web.ovf").write_bytes(build.descriptor(build.system(name="Deep")))
        build.image(folder / "plain.qcow2", DATA, "qcow2")
        (folder / "a.raw").write_bytes(DATA)
        (folder / "broken.ova").write_bytes(b"not a tar")
        return folder

    @pytest.fixture
    def options(self, folder: Path) -> Options:
        return {"path": str(folder)}


class TestRawImage(ProviderContract):
    provider = "ova"

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "disk.raw"
        path.write_bytes(DATA)
        return path

    @pytest.fixture
    def options(self, path: Path) -> Options:
        return {"path": str(path)}

    @pytest.fixture
    def mutate(self, path: Path) -> Mutate:
        def write(instance: Instance, disk_id: str, offset: int, data: bytes) -> None:
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(data)

        return write
