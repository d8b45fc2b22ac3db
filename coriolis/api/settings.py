# SPDX-License-Identifier: Apache-2.0
"""What the API is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field

from oslo_config import cfg

from coriolis.api.rates import IN_MEMORY


def empty_conf() -> cfg.ConfigOpts:
    """Options at their defaults, no file read."""
    conf = cfg.ConfigOpts()
    conf([], project="coriolis", default_config_files=[], default_config_dirs=[])
    return conf


@dataclass(frozen=True, kw_only=True)
class ApiSettings:
    """``conf``: for the libraries that read oslo.config themselves (oslo.middleware, oslo.policy)."""

    max_limit: int = 1000  # rows of a page of tasks, progress or events; also when the caller names no limit
    max_body_bytes: int = 1_048_576
    rate_limit: str = ""  # of each project, as ``rates.Rates`` has it; empty: none
    rate_limit_storage: str = IN_MEMORY
    waiting_requests: int = 32  # that wait for events at the same time
    provider_call_timeout_seconds: float = 60.0
    certificate_key_file: str = ""  # private key that signs certificates
    conf: cfg.ConfigOpts = field(default_factory=empty_conf)
