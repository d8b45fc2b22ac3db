# SPDX-License-Identifier: Apache-2.0
"""What a worker is told at its start. Times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """Links to workers of other sites. Without files of the operator's, the conductor's authority certifies it.

    ``listen_address``, ``listen_ports`` (FIRST-LAST, or empty): where exports listen; ``advertised_host``: under which
    name or address others reach them, the same by default. ``name``: what the operator's certificate says, the host by
    default. ``clear``: without TLS, between all workers or none."""

    listen_address: str = "127.0.0.1"
    listen_ports: str = ""
    advertised_host: str = ""
    certificate_file: str = ""
    key_file: str = ""
    authority_file: str = ""
    name: str = ""
    clear: bool = False
    compression: str = "auto"  # auto, on, off
    connections: int = 4


@dataclass(frozen=True, kw_only=True)
class LinkFiles:
    """What this worker proves itself with, and as whom. Files None: in clear, as configured."""

    name: str
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """``providers`` empty: all that are installed. ``lease_margin_seconds``: children are killed so long before the
    lease may have run out (at most a third of the lease). ``journal_days``: copy journals of executions that ended
    badly are kept so long after their last write. ``mirror_journals``: the conductor keeps them too."""

    host: str
    state_path: Path
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    release: str = ""
    slots: int = 8
    calls: int = 8  # provider calls at the same time
    cancel_grace_seconds: float = 5.0  # from the token to TERM, and from TERM to KILL
    drain_seconds: float = 60.0
    lease_margin_seconds: float = 5.0
    call_timeout_seconds: float = 10.0  # of one message to the conductor
    copy_requests: int = 6
    copy_memory_mib: int = 512  # of all slots together
    copy_source_filters: str = ""
    copy_sink_filters: str = ""
    copy_stall_seconds: float = 120.0
    verify: str = "full"  # none, sample, full
    journal_days: int = 14
    mirror_journals: bool = True
    memory_limit_mib: int = 0  # address space of a child; 0: no limit
    link: LinkSettings = LinkSettings()


@dataclass(frozen=True, kw_only=True)
class VaultSettings:
    """Where a child finds what opens an endpoint. It goes to the child on its socket, never in argv or environment.

    ``barbican``: ``{"auth_type": ..., "auth": {...}, "endpoint": ..., "region": ..., "cafile": ...}`` for
    keystoneauth, or None when Barbican is not configured. ``auth_type`` None: secrets are read under trusts only.
    ``trustee``: the fields of ``runtime.trusts.Trustee``, or None where no trusts are in use.
    """

    key_file: str
    barbican: dict[str, Any] | None = field(default=None, repr=False)
    trustee: dict[str, Any] | None = field(default=None, repr=False)
