# SPDX-License-Identifier: Apache-2.0
"""``GET /migrations?limit=100`` with 1,000 and with 200,000 rows, through the whole API in process, and the page in
the middle of the list. The peer of the large table is the small one, measured in turns, the best of 21."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from prometheus_client import CollectorRegistry
from sqlalchemy import insert, select
from webtest import TestApp

from coriolis.api.app import make_app
from coriolis.api.settings import ApiSettings
from coriolis.rpc.local_bus import LocalBus
from coriolis.runtime import identity, local_token
from coriolis.runtime.secrets import Vault
from coriolis.store import schema
from coriolis.store.engine import Database
from coriolis.store.tables import action, endpoint, execution

BAR = 1.5
SMALL, LARGE = 1_000, 200_000
TOKEN = "token-of-the-bench"
CHUNK = 5_000


@dataclass
class Stand:
    """An API over a database of so many migrations."""

    db: Database
    api: TestApp
    middle: str  # id of a row in the middle of the list

    def measure(self, url: str) -> tuple[float, int]:
        """(milliseconds, statements) of one request."""
        with self.db.counting() as count:
            start = time.perf_counter()
            answer = self.api.get(url)
            spent = (time.perf_counter() - start) * 1000
            assert len(answer.json["migrations"]) == 100
            return spent, count()


def run(*, quick: bool = False) -> list[dict[str, Any]]:
    large = LARGE // 10 if quick else LARGE
    rounds = 5 if quick else 21
    with tempfile.TemporaryDirectory(prefix="cor-bench-") as folder:
        stands = [_stand(Path(folder) / f"{rows}.sqlite", rows) for rows in (SMALL, large)]
        result = []
        for name, query in _QUERIES:
            times: list[list[float]] = [[], []]
            statements = [0, 0]
            for turn in range(rounds + 1):
                for position, stand in enumerate(stands):
                    spent, statements[position] = stand.measure(f"{PREFIX}/migrations?limit=100{query(stand)}")
                    if turn:  # the first ones fill caches
                        times[position].append(spent)
            result += _rows(name, large, [min(each) for each in times], statements)
        for stand in stands:
            stand.db.dispose()
    return result


PREFIX = f"/v1/{local_token.PROJECT_ID}"
_QUERIES: tuple[tuple[str, Callable[[Stand], str]], ...] = (
    ("first page", lambda stand: ""),
    ("page in the middle", lambda stand: f"&marker={stand.middle}"),
)


def _rows(name: str, large: int, times: list[float], statements: list[int]) -> list[dict[str, Any]]:
    ratio = times[1] / times[0]
    return [
        {
            "name": f"list of 100 migrations, {name}: {large:,} rows against {SMALL:,}",
            "ours": round(times[1], 2),
            "peer": round(times[0], 2),
            "unit": "ms",
            "ratio": round(ratio, 3),
            "bar": BAR,
            "holds": ratio < BAR,
        },
        {
            "name": f"SQL statements of it, {name}",
            "ours": statements[1],
            "peer": statements[0],
            "unit": "statements",
            "ratio": statements[1] / statements[0],
            "bar": 1.0,
            "holds": statements[1] == statements[0],
        },
    ]


def _stand(path: Path, rows: int) -> Stand:
    db = Database(f"sqlite:///{path}", synchronous="OFF")
    schema.upgrade(db)
    fill(db, rows, local_token.PROJECT_ID)
    vault = Vault([Fernet.generate_key().decode()])
    app = make_app(ApiSettings(), db, LocalBus(threads=1), vault, identity.local(TOKEN), registry=CollectorRegistry())
    api = TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1", "HTTP_X_AUTH_TOKEN": TOKEN})
    with db.reader() as conn:
        middle = conn.execute(select(action.c.id).order_by(action.c.created_at).offset(rows // 2)).scalar()
    return Stand(db, api, str(middle))


def fill(db: Database, rows: int, project: str) -> None:
    """So many finished migrations of one instance each, with their executions, of one project."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)
    ends = [str(uuid.UUID(int=number)) for number in (1, 2)]
    owner = {"project_id": project, "user_id": "bench"}
    with db.writer() as conn:
        common = {"description": "", "sealed": "x", "mapped_regions": [], "hidden": False, "created_at": start}
        conn.execute(insert(endpoint), [{"id": end, "name": "e", "type": "null", **owner, **common} for end in ends])
    figures = {"percent": 100, "bytes_done": 0, "bytes_total": 0}
    for first in range(0, rows, CHUNK):
        numbers = range(first, min(rows, first + CHUNK))
        jobs = [
            {
                "id": str(uuid.uuid4()),
                **owner,
                **figures,
                "origin_endpoint_id": ends[0],
                "destination_endpoint_id": ends[1],
                "instances": [f"vm-{number}"],
                "source_environment": {},
                "destination_environment": {"network_map": {"a": "b"}},
                "network_map": {"a": "b"},
                "storage_mappings": {},
                "user_scripts": {},
                "shutdown_instances": False,
                "replication_count": 2,
                "skip_os_morphing": False,
                "last_execution_status": "COMPLETED",
                "created_at": start + dt.timedelta(seconds=number),
            }
            for number in numbers
        ]
        runs = [
            {
                "id": str(uuid.uuid4()),
                "action_id": job["id"],
                "project_id": project,
                **figures,
                "number": 1,
                "type": "migration",
                "recipe": "move_definition",
                "capabilities": {},
                "state": "COMPLETED",
                "cancel_requested": False,
                "cancel_force": False,
                "cancel_pending": False,
                "version": 1,
                "created_at": job["created_at"],
                "finished_at": job["created_at"],
            }
            for job in jobs
        ]
        with db.writer() as conn:
            conn.execute(insert(action), jobs)
            conn.execute(insert(execution), runs)


if __name__ == "__main__":
    print(*run(), sep="\n")
