# SPDX-License-Identifier: Apache-2.0
"""Options of the encryption of connection info and of Barbican."""

from __future__ import annotations

from oslo_config import cfg

GROUP = "secrets"

OPTS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "key_file",
        default="/etc/coriolis/secrets.key",
        help="File (mode 0600) with one key per line; the first one encrypts, all decrypt. Made by "
        "'coriolis-manage secrets create-key'; the same on all API and worker hosts.",
    ),
    cfg.BoolOpt(
        "barbican",
        default=False,
        help="Resolve secret_ref through Barbican, with the credentials of section [barbican].",
    ),
)
