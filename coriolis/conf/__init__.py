# SPDX-License-Identifier: Apache-2.0
"""Options of the services: one module per option group, listed in ``opts``.

There is no global configuration object: ``load`` makes one, and each service gets the few settings it needs as a
frozen record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg
from oslo_log import log

from coriolis.conf import opts

PROJECT = "coriolis"


def register(conf: cfg.ConfigOpts) -> None:
    """Makes all options known to ``conf``."""
    log.register_options(conf)
    opts.register_all(conf)


def load(
    arguments: Sequence[str],
    *,
    program: str,
    files: Sequence[str | Path] | None = None,
    cli: Sequence[cfg.Opt] = (),
    description: str | None = None,
) -> cfg.ConfigOpts:
    """Parses command line and files into a new configuration object.

    ``files`` None means the usual places (``/etc/coriolis/coriolis.conf`` and the per-program file there).
    :raises oslo_config.cfg.Error: an unreadable file, an unknown or out-of-range value
    """
    conf = cfg.ConfigOpts()
    register(conf)
    conf.register_cli_opts(cli)
    conf(
        list(arguments),
        project=PROJECT,
        prog=program,
        default_config_files=None if files is None else [str(f) for f in files],
        description=description,
    )
    opts.check_values(conf)
    return conf
