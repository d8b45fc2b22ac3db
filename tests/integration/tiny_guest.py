# SPDX-License-Identifier: Apache-2.0
"""A guest of 512 bytes: prints a line on the serial port, then writes an increasing counter to its disk for ever.

It boots in a fraction of a second without KVM and sleeps between writes (about 18 a second).
"""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

GREETING = b"tiny guest is up\r\n"
COUNTER_OFFSET = 50 << 20  # bytes; one sector is written there
DISK_SIZE = 64 << 20
_ORIGIN, _MESSAGE, _PACKET, _COUNTER = 0x7C00, 0x100, 0x140, 0x8000

_CODE = b"".join(
    (
        b"\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xfb\xfc",  # cli; ax=ds=ss=0; sp=0x7c00; sti; cld
        b"\xbe" + struct.pack("<H", _ORIGIN + _MESSAGE),  # mov si, message
        # next: lodsb; test al,al; jz write; mov ah,al; wait: mov dx,0x3fd; in al,dx; test al,0x20; jz wait
        b"\xac\x84\xc0\x74\x10\x88\xc4\xba\xfd\x03\xec\xa8\x20\x74\xf8",
        b"\x88\xe0\xba\xf8\x03\xee",  # mov al,ah; mov dx,0x3f8; out dx,al
    )
)


def boot_sector() -> bytes:
    """The guest, as the first sector of its disk."""
    code = bytearray(_CODE)
    next_label = 15
    code += bytes((0xEB, (next_label - (len(code) + 2)) & 0xFF))  # jmp next
    write_label = len(code)
    code[next_label + 4] = write_label - (next_label + 5)  # the jz above
    code += b"\x66\xff\x06" + struct.pack("<H", _COUNTER)  # inc dword [counter]
    code += b"\xb8\x00\x43\xb2\x80\xbe" + struct.pack("<H", _ORIGIN + _PACKET)  # ax=0x4300; dl=0x80; si=packet
    code += b"\xcd\x13\xf4"  # int 0x13; hlt until the timer ticks
    code += bytes((0xEB, (write_label - (len(code) + 2)) & 0xFF))  # jmp write
    sector = bytearray(512)
    sector[: len(code)] = code
    sector[_MESSAGE : _MESSAGE + len(GREETING)] = GREETING
    struct.pack_into("<BBHHHQ", sector, _PACKET, 16, 0, 1, _COUNTER, 0, COUNTER_OFFSET // 512)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def raw_disk(path: Path, *, seed: int = 1, silent: bool = False) -> Path:
    """A sparse raw disk of `DISK_SIZE` with the guest and some megabytes of random data.

    ``silent``: without the guest, so that nothing boots and nobody writes.
    """
    numbers = random.Random(seed)
    with path.open("wb") as disk:
        disk.truncate(DISK_SIZE)
        disk.write(bytes(512) if silent else boot_sector())
        for offset in (1 << 20, 20 << 20, DISK_SIZE - (1 << 20)):
            disk.seek(offset)
            disk.write(numbers.randbytes(1 << 20))
    return path


def qcow2_disk(path: Path, *, seed: int = 1, silent: bool = False) -> Path:
    """The same as a qcow2 image."""
    raw = raw_disk(path.with_suffix(".tmp"), seed=seed, silent=silent)
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
    return path


def counter(sector: bytes) -> int:
    """What the guest had counted to, from the sector at `COUNTER_OFFSET`."""
    return int(struct.unpack_from("<I", sector)[0])
