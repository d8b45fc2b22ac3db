# SPDX-License-Identifier: Apache-2.0
"""Which kind of operating system an OVF means: by CIM number, VMware guest id, VirtualBox or oVirt word."""

from __future__ import annotations

from coriolis.providers.api import OsType

# CIM_OperatingSystem.OSType (DMTF CIM schema 2.5x), which OVF uses as OperatingSystemSection/@id.
_WINDOWS = (*range(15, 20), 58, 63, 67, *range(69, 78), 103, 105, *range(111, 123))
_LINUX = (36, 79, 80, *range(82, 102), 106, 107, 108, 109, 123, 124, 125)
_BSD = (41, 42, 43, 65, 78)
_SOLARIS = (29, 30, 81)
_OSX = (2,)

_BY_NUMBER: dict[int, OsType] = {
    **dict.fromkeys(_WINDOWS, OsType.WINDOWS),
    **dict.fromkeys(_LINUX, OsType.LINUX),
    **dict.fromkeys(_BSD, OsType.BSD),
    **dict.fromkeys(_SOLARIS, OsType.SOLARIS),
    **dict.fromkeys(_OSX, OsType.OSX),
}

# Looked for in this order in the lower-cased words: "darwin" holds "win".
_BY_WORD: tuple[tuple[str, OsType], ...] = (
    ("darwin", OsType.OSX),
    ("macos", OsType.OSX),
    ("win", OsType.WINDOWS),
    *((word, OsType.BSD) for word in ("freebsd", "openbsd", "netbsd", "bsd")),
    *((word, OsType.SOLARIS) for word in ("solaris", "sunos")),
    *(
        (word, OsType.LINUX)
        for word in (
            "linux", "rhel", "redhat", "red hat", "centos", "fedora", "ubuntu", "debian", "suse", "sles", "oracle",
            "rocky", "alma", "arch", "gentoo", "mandr", "turbo", "xandros", "asianux", "photon", "coreos", "amazon",
            "mint", "vmkernel",
        )
    ),
)  # fmt: skip


def os_type(number: int | None, words: tuple[str, ...]) -> OsType:
    """The number when it says something, otherwise the first word that does."""
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    for text in words:
        for word, kind in _BY_WORD:
            if word in text.lower():
                return kind
    return OsType.OTHER if number == 1 or words else OsType.UNKNOWN
