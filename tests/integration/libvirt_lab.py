# SPDX-License-Identifier: Apache-2.0
"""What the tests of the libvirt provider share: domains of tiny guests, and plain NBD reads and writes."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import nbd

from coriolis.dataplane import NbdSink, NbdSource
from coriolis.providers.api import Context, Instance
from coriolis.providers.libvirt import PROVIDER
from coriolis.providers.libvirt.provider import LibvirtConnection
from tests.integration import tiny_guest
from tests.integration.libvirt_host import LibvirtHost

_DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
  <devices>{disks}
    <serial type='pty'><log file='/var/log/libvirt/qemu/{name}-serial0.log'/></serial>
    <interface type='user'><mac address='52:54:00:aa:bb:cc'/><model type='e1000'/></interface>
  </devices>
</domain>"""
_DISK = """
    <disk type='file' device='disk'><driver name='qemu' type='{kind}'/><source file='{path}'/>
      <target dev='{target}' bus='virtio'/></disk>"""


@dataclass(kw_only=True)
class Lab:
    """A private libvirtd and a connection of ours to it. ``scratch``: what contexts get."""

    host: LibvirtHost
    scratch: Path
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.raw = libvirt.open(self.host.uri)
        self.connection = self.connect()

    def connect(self, info: dict[str, Any] | None = None) -> LibvirtConnection:
        """With a grace time of one second, for tiny guests know no ACPI."""
        info = {**(info or self.host.connection_info), "shutdown_grace_seconds": 1}
        connection = PROVIDER.connect(info, self.context())
        assert isinstance(connection, LibvirtConnection)
        return connection

    def context(self, epoch: int = 1) -> Context:
        return Context(
            log=logging.getLogger("lab"),
            scratch=Path(tempfile.mkdtemp(dir=self.scratch)),
            epoch=epoch,
            event=lambda level, message: self.events.append(f"{level} {message}"),
        )

    def define(
        self,
        name: str,
        disks: dict[str, tuple[str, Path]] | None = None,
        *,
        silent: bool = False,
        memory_mib: int = 64,
    ) -> Instance:
        """A domain, not started. ``disks``: target to format and path; default: a qcow2 tiny guest (or, ``silent``,
        only data)."""
        if disks is None:
            disks = {"vda": ("qcow2", tiny_guest.qcow2_disk(self.host.pool / f"{name}.qcow2", silent=silent))}
        parts = [_DISK.format(target=t, kind=kind, path=path) for t, (kind, path) in disks.items()]
        self.raw.defineXML(_DOMAIN.format(name=name, memory=memory_mib, disks="".join(parts)))
        return self.instance(name)

    def instance(self, name: str) -> Instance:
        return self.connection.inventory.get_instance({}, name, self.context())

    def domain(self, name: str) -> libvirt.virDomain:
        return self.raw.lookupByName(name)

    def start(self, name: str) -> Instance:
        """The domain, and its guest counting."""
        self.domain(name).create()
        self.wait_for_greeting(name)
        return self.instance(name)

    def wait_for_greeting(self, name: str) -> None:
        self.wait_for_words(name, tiny_guest.GREETING, 30)

    def wait_for_words(self, name: str, words: bytes, seconds: float) -> None:
        """Until the guest has said so on its console."""
        end = time.monotonic() + seconds
        while words not in self.console(name):
            assert time.monotonic() < end, f"{name} does not boot: {self.console(name)!r}"
            time.sleep(0.1)

    def console(self, name: str) -> bytes:
        log = self.host.console_log(name)
        return log.read_bytes() if log.exists() else b""

    def clear(self) -> None:
        """Removes all domains and files of the pool."""
        for domain in self.raw.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        folder = self.host.directory
        for file in [*self.host.pool.iterdir(), *folder.glob("log/qemu/*"), *folder.glob("sockets/*")]:
            file.unlink()

    def left_over(self) -> list[str]:
        """What of ours is still there: checkpoints, backup jobs, files."""
        found = []
        for domain in self.raw.listAllDomains():
            found += [f"checkpoint {c.getName()}" for c in domain.listAllCheckpoints()]
            if domain.isActive() and domain.jobInfo()[0]:
                found.append(f"job of {domain.name()}")
        found += [f"socket {path.name}" for path in (self.host.directory / "sockets").iterdir()]
        found += [f"file {path.name}" for path in self.host.pool.iterdir() if "coriolis" in path.name]
        return found + [f"process {command}" for command in self.exports()]

    def exports(self) -> list[str]:
        """Command lines of the qemu-nbd that serve images of this lab's pool."""
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = process.read_text().replace("\0", " ")
            except OSError:
                continue
            if command.startswith("qemu-nbd") and str(self.host.pool) in command:
                found.append(command)
        return found

    def close(self) -> None:
        self.connection.close()
        self.raw.close()


def wait_for_writes(source: NbdSource, beyond: int) -> int:
    """The guest's counter as the source shows it, once it is beyond ``beyond``."""
    end = time.monotonic() + 30
    while (value := tiny_guest.counter(read(source, tiny_guest.COUNTER_OFFSET, 512))) <= beyond:
        assert time.monotonic() < end, "the guest does not count"
        time.sleep(0.1)
    return value


def _open(uri: str, *contexts: str) -> nbd.NBD:
    handle = nbd.NBD()
    for context in contexts:
        handle.add_meta_context(context)
    handle.connect_uri(uri)
    return handle


def read(source: NbdSource | NbdSink, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of an export; all of them by default."""
    handle = _open(source.uri)
    end = handle.get_size() if length is None else offset + length
    data = b"".join(bytes(handle.pread(min(1 << 20, end - at), at)) for at in range(offset, end, 1 << 20))
    handle.shutdown()
    return data


def write(sink: NbdSink, data: bytes, offset: int = 0) -> None:
    handle = _open(sink.uri)
    for at in range(0, len(data), 1 << 20):
        handle.pwrite(data[at : at + (1 << 20)], offset + at)
    handle.flush()
    handle.shutdown()


def dirty(source: NbdSource) -> list[tuple[int, int]]:
    """Offset and length of what the source's bitmap marks."""
    assert source.bitmap is not None
    handle = _open(source.uri, f"qemu:dirty-bitmap:{source.bitmap}")
    found: list[tuple[int, int]] = []

    def collect(_context: str, offset: int, entries: list[int], _error: Any) -> int:
        for length, flags in zip(entries[::2], entries[1::2], strict=True):
            if flags & 1:
                found.append((offset, length))
            offset += length
        return 0

    handle.block_status(handle.get_size(), 0, collect)
    handle.shutdown()
    return found
