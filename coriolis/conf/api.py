# SPDX-License-Identifier: Apache-2.0
"""Options of coriolis-api."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "api"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.HostAddressOpt("listen_address", default="127.0.0.1", help="Address that coriolis-api listens on."),
    cfg.PortOpt("listen_port", default=7667, help="Port that coriolis-api listens on. 0 takes a free one."),
    cfg.IntOpt("threads", default=16, min=1, max=512, help="Requests answered at the same time by one process."),
    cfg.IntOpt(
        "waiting_requests",
        default=32,
        min=1,
        max=2000,
        help="Requests of one process that may wait for events (long polls and event streams); more get 503 with "
        "Retry-After. Each has a thread of its own, beside those of [api]/threads.",
    ),
    cfg.StrOpt("tls_certificate_file", help="PEM certificate chain. With it, coriolis-api speaks HTTPS only."),
    cfg.StrOpt("tls_key_file", help="PEM private key of tls_certificate_file."),
    cfg.StrOpt(
        "auth_strategy",
        default="keystone",
        choices=[
            ("keystone", "Tokens are checked by keystonemiddleware, section [keystone_authtoken]."),
            ("local_token", "One token, kept in local_token_file; for standalone and for trials on loopback."),
        ],
        help="How callers prove who they are.",
    ),
    cfg.StrOpt("local_token_file", help="File (mode 0600) of the token for auth_strategy local_token."),
    cfg.StrOpt(
        "certificate_key_file",
        default="/etc/coriolis/certificate.key",
        help="Private key (Ed25519, PEM, mode 0600) that signs integrity certificates. Made by 'coriolis-manage "
        "certificate create-key'; the same on all API hosts, and on no other.",
    ),
    cfg.IntOpt("max_limit", default=1000, min=1, help="Largest page of tasks, progress or events."),
    cfg.StrOpt(
        "rate_limit",
        default="",
        help="How often each project may ask, for example '20/second; 600/minute'. Beyond it the answer is 429 with "
        "Retry-After. Empty: no limit.",
    ),
    cfg.StrOpt(
        "rate_limit_storage",
        default="memory://",
        help="Where requests are counted, as the Python library 'limits' names it. In memory, each process of "
        "coriolis-api counts for itself; redis:// and memcached:// let all count together.",
        secret=True,
    ),
    cfg.FloatOpt(
        "head_timeout_seconds",
        default=10.0,
        min=0.1,
        help="A client that has not sent the whole head of a request so long after its first byte is cut off.",
    ),
    cfg.FloatOpt(
        "body_timeout_seconds",
        default=60.0,
        min=0.1,
        help="A client that has not sent the whole body of a request so long after the head is cut off.",
    ),
    cfg.IntOpt("max_request_body_bytes", default=1048576, min=4096, help="Larger request bodies are refused with 413."),
    cfg.FloatOpt(
        "provider_call_timeout_seconds",
        default=60.0,
        min=1.0,
        help="How long a caller waits for a worker that lists instances, networks or storage, or checks an endpoint.",
    ),
)
