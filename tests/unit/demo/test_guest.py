# SPDX-License-Identifier: Apache-2.0
"""Rules of the guest builder that need no kernel package."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from demo.guest import MIB, GuestSpec, _modules, _write_data, copy_sparse


def test_data_is_the_same_each_time_and_lists_itself(tmp_path: Path) -> None:
    spec = GuestSpec(random_mib=4, text_mib=4, seed=7)
    digests = {_write_data(tmp_path / name, spec) for name in ("one", "two")}
    assert len(digests) == 1
    lines = (tmp_path / "one/SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["random-000.bin", "text-000.txt"]
    for line in lines:
        digest, name = line.split("  ")
        content = (tmp_path / "one" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (4 * MIB, digest)


def test_other_seed_other_data(tmp_path: Path) -> None:
    one = _write_data(tmp_path / "one", GuestSpec(random_mib=4, text_mib=0, seed=1))
    assert one != _write_data(tmp_path / "two", GuestSpec(random_mib=4, text_mib=0, seed=2))


def test_modules_come_with_what_they_need(tmp_path: Path) -> None:
    home = tmp_path / "lib/modules/6.0"
    home.mkdir(parents=True)
    (home / "modules.dep").write_text(
        "a/virtio-blk.ko: b/virtio.ko b/ring.ko\nb/virtio.ko: b/ring.ko\nb/ring.ko:\nc/x.ko:\n"
    )
    found = _modules(tmp_path, "6.0", ["virtio_blk", "built_in"])
    assert [str(path) for path in found] == ["a/virtio-blk.ko", "b/ring.ko", "b/virtio.ko"]


def test_copy_keeps_holes_and_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "s", tmp_path / "t"
    with source.open("wb") as file:
        file.truncate(6 * MIB)
        file.seek(2 * MIB)
        file.write(b"\x5a" * (MIB + 4096))
    with target.open("wb") as file:
        file.truncate(8 * MIB)
    copy_sparse(source, target, MIB)
    content = target.read_bytes()
    assert content[MIB : 7 * MIB] == source.read_bytes()
    assert not any(content[:MIB] + content[7 * MIB :])
    assert os.stat(target).st_blocks * 512 < 2 * MIB
