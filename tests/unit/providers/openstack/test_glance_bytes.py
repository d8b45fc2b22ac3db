# SPDX-License-Identifier: Apache-2.0
"""The place of staged files, and bytes from a Glance that breaks off."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from keystoneauth1 import adapter, noauth
from keystoneauth1.session import Session

from coriolis.providers.api import Conflict, Context, Unavailable
from coriolis.providers.openstack.transports import glance_bytes
from coriolis.providers.openstack.transports.image import place_of

CONTENT = bytes(range(256)) * 4096 + bytes(3 << 20) + b"end"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(log=logging.getLogger("test"), scratch=tmp_path, staging=tmp_path / "staging", epoch=5)


def test_staged_files_outlive_the_attempt(context: Context) -> None:
    with glance_bytes.staged(context, "image-1") as folder:
        (folder / "image").write_bytes(b"half")
    with glance_bytes.staged(context, "image-1") as folder:
        assert (folder / "image").read_bytes() == b"half"
    assert folder.parent == context.staging


def test_an_older_attempt_is_refused(context: Context) -> None:
    with glance_bytes.staged(context, "volume-1", exclusive=True):
        pass
    with glance_bytes.staged(context, "volume-1", exclusive=True):
        pass
    with (
        pytest.raises(Conflict),
        glance_bytes.staged(dataclasses.replace(context, epoch=4), "volume-1", exclusive=True),
    ):
        pass


def test_a_name_cannot_lead_elsewhere(context: Context) -> None:
    with glance_bytes.staged(context, "../../etc/image") as folder:
        assert folder.parent == context.staging


@dataclass
class Server:
    """A fake Glance: breaks each answer off after ``most`` bytes."""

    url: str
    ranges: bool = True
    most: int = 1 << 20
    asked: int = 0
    damaged: bool = False


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Range")
            start = int(given.removeprefix("bytes=").rstrip("-")) if given and state.ranges else 0
            state.asked += 1
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            data = CONTENT[start : start + state.most]
            self.wfile.write(b"?" + data[1:] if state.damaged else data)
            self.close_connection = True

        def log_message(self, *_args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state = Server(url=f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@dataclass
class Image:
    id: str = "some-image"
    size: int = len(CONTENT)
    hash_algo: str = "sha512"
    hash_value: str = hashlib.sha512(CONTENT).hexdigest()


@dataclass
class Sdk:
    image: Any


@dataclass
class FakeCloud:
    sdk: Sdk


def _cloud(server: Server) -> Any:
    session = Session(auth=noauth.NoAuth(endpoint=server.url))
    return FakeCloud(sdk=Sdk(image=adapter.Adapter(session, endpoint_override=server.url)))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance_bytes, "_PAUSE_SECONDS", 0.0)


def test_a_fetch_goes_on_where_it_was_cut_off(server: Server, context: Context, tmp_path: Path) -> None:
    path = tmp_path / "image"
    glance_bytes.fetch(_cloud(server), Image(), path, context)
    assert path.read_bytes() == CONTENT
    assert server.asked == -(-len(CONTENT) // server.most)
    assert path.stat().st_blocks * 512 < len(CONTENT)  # zeros are holes


def test_a_later_attempt_goes_on(server: Server, context: Context, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(CONTENT[: 3 << 20])
    glance_bytes.fetch(_cloud(server), Image(), path, context)
    assert path.read_bytes() == CONTENT
    assert server.asked == 2


def test_without_ranges_a_fetch_begins_anew(server: Server, context: Context, tmp_path: Path) -> None:
    server.ranges, server.most = False, len(CONTENT)
    path = tmp_path / "image"
    path.write_bytes(b"x" * 1000)
    glance_bytes.fetch(_cloud(server), Image(), path, context)
    assert path.read_bytes() == CONTENT


def test_other_bytes_than_told_are_refused(server: Server, context: Context, tmp_path: Path) -> None:
    server.damaged, server.most = True, len(CONTENT)
    path = tmp_path / "image"
    with pytest.raises(Unavailable, match="other bytes"):
        glance_bytes.fetch(_cloud(server), Image(), path, context)
    assert not path.exists()


def test_a_server_that_gives_nothing_is_given_up(server: Server, context: Context, tmp_path: Path) -> None:
    server.most = 0
    with pytest.raises(Unavailable):
        glance_bytes.fetch(_cloud(server), Image(), tmp_path / "image", context)


def test_what_is_staged_of_one_project_is_nobody_elses() -> None:
    def place(auth_url: str, project: str, ident: str = "i") -> str:
        cloud: Any = SimpleNamespace(auth_url=auth_url, project_id=project)
        return place_of(cloud, "image", ident)

    places = [
        place("https://a", "p"),
        place("https://evil", "p"),
        place("https://a", "q"),
        place("https://a", "p", "j"),
    ]
    assert len(set(places)) == 4
    assert place("https://a", "p") == places[0]
    assert all(one.startswith("image-") for one in places)
