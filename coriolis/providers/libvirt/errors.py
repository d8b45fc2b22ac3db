# SPDX-License-Identifier: Apache-2.0
"""libvirt's errors as the provider API's five classes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import libvirt

from coriolis.providers.api import Conflict, Gone, Invalid, ProviderError, Unauthorized, Unavailable

_GONE = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT,
    libvirt.VIR_ERR_NO_DOMAIN_BACKUP,
}
_UNAUTHORIZED = {
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_OPERATION_DENIED,
}
_UNAVAILABLE = {
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_NO_MEMORY,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_RESOURCE_BUSY,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_GNUTLS_ERROR,
    libvirt.VIR_ERR_LIBSSH,
}
_INVALID = {
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OS_TYPE,
    libvirt.VIR_ERR_NO_KERNEL,
}
CLASSES: dict[int, type[ProviderError]] = (
    dict.fromkeys(_GONE, Gone)
    | dict.fromkeys(_UNAUTHORIZED, Unauthorized)
    | dict.fromkeys(_UNAVAILABLE, Unavailable)
    | dict.fromkeys(_INVALID, Invalid)
)
# libvirt gives the errno of a failed system call in int1.
_BY_ERRNO: dict[int, type[ProviderError]] = {
    errno.EACCES: Unauthorized,
    errno.EPERM: Unauthorized,
    errno.ENOSPC: Invalid,
    errno.EDQUOT: Invalid,
}


def is_code(error: libvirt.libvirtError, *codes: int) -> bool:
    return error.get_error_code() in codes


def classify(error: libvirt.libvirtError, doing: str, connection: libvirt.virConnect | None = None) -> ProviderError:
    """The provider error for what libvirt said while ``doing``.

    A call that failed because the connection broke is Unavailable, whatever code libvirt gave it. What libvirt or
    QEMU refused without a code of its own (OPERATION_FAILED, INTERNAL_ERROR ...) is a Conflict: not to be retried.
    """
    code = error.get_error_code()
    kind = CLASSES.get(code, Conflict)
    if code == libvirt.VIR_ERR_SYSTEM_ERROR:
        kind = _BY_ERRNO.get(error.get_int1() or 0, Unavailable)
    if connection is not None and not _alive(connection):
        kind = Unavailable
    return kind(f"{doing}: {error.get_error_message() or error}")


def _alive(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


@contextlib.contextmanager
def translated(doing: str, connection: libvirt.virConnect | None = None) -> Iterator[None]:
    """:raises ProviderError: in place of any libvirtError of the block"""
    try:
        yield
    except libvirt.libvirtError as error:
        raise classify(error, doing, connection) from error
