# SPDX-License-Identifier: Apache-2.0
"""Options of the links between workers of different sites."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "link"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "authority_certificate_file",
        default="",
        help="For conductors: certificate of the authority that certifies workers for a day at a time. Made by "
        "'coriolis-manage links create-authority'. Empty: workers have certificates of yours, or no links.",
    ),
    cfg.StrOpt("authority_key_file", default="", help="For conductors: its key, mode 0600."),
    cfg.StrOpt(
        "listen_address",
        default="127.0.0.1",
        help="For workers: the address on which they offer disks to workers of other sites.",
    ),
    cfg.StrOpt(
        "listen_ports",
        default="",
        regex=r"^(\d{1,5}-\d{1,5})?$",
        help="For workers: the ports for that, as FIRST-LAST, for a firewall. Each disk takes one while it is copied, "
        "so this also limits how many are offered at once. Empty: any free ones.",
    ),
    cfg.StrOpt(
        "advertised_host",
        default="",
        help="For workers: the name or address under which workers of other sites reach that. Empty: listen_address.",
    ),
    cfg.StrOpt(
        "certificate_file",
        default="",
        help="For workers: a certificate of your own authority, for client and server authentication. Empty: the "
        "conductor's authority gives one.",
    ),
    cfg.StrOpt("key_file", default="", help="For workers: its key, mode 0600."),
    cfg.StrOpt("authority_file", default="", help="For workers: the certificates that sign those of other workers."),
    cfg.StrOpt(
        "name", default="", help="For workers: the DNS name in certificate_file that others check. Empty: the host."
    ),
    cfg.BoolOpt(
        "clear",
        default=False,
        help="For workers: without TLS, so that anybody on the way can read and change what passes. All workers that "
        "are to be linked must have the same here. Said in the log at each link.",
    ),
    cfg.StrOpt(
        "compression",
        default="auto",
        choices=("auto", "on", "off"),
        help="For workers: zstd. auto: while it saves more than 3 % of the bytes and more time than it takes, measured "
        "on each stream; on: while it saves bytes.",
    ),
    cfg.IntOpt("connections", default=4, min=1, max=16, help="For workers: connections of one disk over a link."),
)
