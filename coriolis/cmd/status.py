# SPDX-License-Identifier: Apache-2.0
"""``coriolis-status upgrade check``: may the services of this release be started?"""

from __future__ import annotations

import sys
from pathlib import Path

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

from coriolis import conf as configuration
from coriolis.domain.errors import CoriolisError
from coriolis.runtime import local_token, secrets
from coriolis.store import schema
from coriolis.store.engine import Database

OK = upgradecheck.Result(upgradecheck.Code.SUCCESS)


def _failed(why: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.FAILURE, why)


class Checks(upgradecheck.UpgradeCommands):
    """Each check names the cure of what it finds."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self._conf = conf

    def check_database(self) -> upgradecheck.Result:
        if not self._conf.database.connection:
            return _failed("[database]/connection is not set")
        try:
            schema.check(Database(self._conf.database.connection, retry_seconds=1))
        except CoriolisError as error:
            return _failed(error.message)
        return OK

    def check_key_file(self) -> upgradecheck.Result:
        try:
            secrets.load_keys(Path(self._conf.secrets.key_file))
        except (OSError, local_token.UnsafeFile, CoriolisError) as error:
            return _failed(f"{error}. Make a key file with 'coriolis-manage secrets create-key'")
        return OK

    _upgrade_checks = (
        ("Database", check_database),
        ("Key file of stored secrets", check_key_file),
    )


def main() -> int:
    """Exit status: 0 good, 1 warnings, 2 failures, 255 the check itself failed."""
    conf = cfg.ConfigOpts()
    configuration.register(conf)
    return int(upgradecheck.main(conf, configuration.PROJECT, Checks(conf), sys.argv[1:]))
