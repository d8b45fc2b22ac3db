# SPDX-License-Identifier: Apache-2.0
"""The copy engine over a link (mutual TLS by OpenSSL, both relays on this machine), with digest and journal, against
nbdcopy with TLS by GnuTLS on its way to the sink; and what compression gives.

Servers are qemu-nbd in front of raw files in memory, new ones for each run. See `contest` for the method.

Run alone: ``python -m tests.perf.link_bench [--quick] [--rounds N] [--only NAME]``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from coriolis.dataplane import CopyOptions, NbdSink, NbdSource, copy_disk
from coriolis.dataplane.link import offer, reach
from coriolis.dataplane.link.frames import Mode
from tests.integration.link_sides import DESTINATION, SOURCE, side
from tests.perf.contest import (
    DENSE,
    MIB,
    SMALL_DENSE,
    SMALL_SPARSE,
    SPARSE,
    Rig,
    Row,
    check_some,
    contest,
    main,
    make_disk,
    nbd_server,
    new_disk,
    program,
    ratio_row,
    roomy_folder,
)

TLS_BAR = 0.60
GAIN_BAR, COST_BAR = 0.75, 1.05  # of the wall without compression: program code, and bytes that do not compress
WIRE = 40 * MIB  # bytes per second of the slow wire


def run(rounds: int = 5, *, quick: bool = False, only: str | None = None) -> Iterator[Row]:
    rounds = 3 if quick else rounds
    for name, part in {"tls": tls_rows, "zstd": zstd_rows}.items():
        if only in (None, name):
            yield from part(rounds, quick)


def ours(
    rig: Rig, *, mode: Mode = "auto", connections: int = 1, through: Callable[[int], int] = lambda port: port
) -> None:
    """Both relays, the engine, and their starts: all that a worker on each side would do."""
    folder = Path(rig.uris["certificates"])
    source, destination = side(folder, SOURCE), side(folder, DESTINATION)
    with (
        offer(rig.uris["source"], peers=[DESTINATION], credentials=source, mode=mode) as offered,
        reach(("127.0.0.1", through(offered.port)), name=SOURCE, credentials=destination, mode=mode) as here,
    ):
        copy_disk(
            NbdSource(uri=here.uri, identity="bench", channel=here.channel),
            NbdSink(uri=rig.uris["sink"]),
            journal=Path(rig.uris["folder"]) / "journal",
            epoch=1,
            options=CopyOptions(connections=connections),
        )


def nbdcopy(rig: Rig, *options: str) -> None:
    program("nbdcopy", *options, rig.uris["source"], rig.uris["tls-sink"])


CONTESTANTS: dict[str, Callable[[Rig], None]] = {
    "ours": ours,
    "nbdcopy": nbdcopy,
    "nbdcopy-1-16": lambda rig: nbdcopy(rig, "--connections=1", "--requests=16"),
}


@contextlib.contextmanager
def stage(folder: Path, image: Path) -> Iterator[Rig]:
    """A source, and two ways to one empty sink: local, and by TLS with certificates."""
    (folder / "journal").unlink(missing_ok=True)
    target = new_disk(folder / "target", image.stat().st_size)
    with (
        nbd_server(image) as (source, source_pid),
        nbd_server(target, writable=True) as (sink, sink_pid),
        tls_server(folder, target) as (tls_sink, tls_pid),
    ):
        uris = {"source": source, "sink": sink, "tls-sink": tls_sink}
        more = {"folder": str(folder), "certificates": str(folder / "certificates")}
        yield Rig(uris={**uris, **more}, servers=[source_pid, sink_pid, tls_pid])
    check_some(image, target)
    target.unlink()


@contextlib.contextmanager
def tls_server(folder: Path, image: Path) -> Iterator[tuple[str, int]]:
    """qemu-nbd with TLS; certificates of both sides checked, as ours are."""
    files = side(folder / "certificates", "localhost")
    store = folder / "qemu"
    store.mkdir(exist_ok=True)
    names = {"ca-cert": files.authority, "server-cert": files.certificate, "server-key": files.key}
    for name, file in {**names, "client-cert": files.certificate, "client-key": files.key}.items():
        shutil.copy(file, store / f"{name}.pem")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    secure = f"tls-creds-x509,id=t,endpoint=server,dir={store},verify-peer=on"
    command = ["qemu-nbd", "-t", "-e", "16", "-f", "raw", "--object", secure, "--tls-creds", "t"]
    where = ["-b", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen([*command, *where, str(image)], stderr=subprocess.DEVNULL)
    try:
        await_port(process, port)
        yield f"nbds://localhost:{port}/?tls-certificates={store}", process.pid
    finally:
        process.kill()
        process.wait()


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("qemu-nbd with TLS did not start")
        time.sleep(0.01)


def tls_rows(rounds: int, quick: bool) -> list[Row]:
    rows: list[Row] = []
    for disk in (SMALL_SPARSE, SMALL_DENSE) if quick else (SPARSE, DENSE):
        with roomy_folder() as folder:
            image = make_disk(folder / "disk", disk)
            found = contest(CONTESTANTS, rounds, partial(stage, folder, image))
        peers = [sample for name, sample in found.items() if name != "ours"]
        title = f"TLS both ends, {disk.name}, against nbdcopy with GnuTLS on one leg"
        rows += [
            ratio_row(title, found["ours"].wall, min(p.wall for p in peers), "s", TLS_BAR),
            ratio_row(f"{title}: CPU", found["ours"].cpu, min(p.cpu for p in peers), "CPU s", None),
        ]
    return rows


def zstd_rows(rounds: int, quick: bool) -> list[Row]:
    """Over a wire of `WIRE`: with compression when it pays, against without any."""
    size = (64 if quick else 256) * MIB
    rounds = min(rounds, 3)  # the wire sets the pace: little noise
    rows: list[Row] = []
    for kind, bar in (("compressible", GAIN_BAR), ("random", COST_BAR)):
        with roomy_folder(4 * size) as folder:
            image = folder / "disk"
            fill(image, size, kind)
            contestants = {mode: partial(slowly, mode=mode) for mode in ("auto", "off")}
            found = contest(contestants, rounds, partial(stage, folder, image))
        title = f"zstd when it pays, {size // MIB} MiB of {kind} bytes over {WIRE // MIB} MiB/s"
        rows.append(ratio_row(f"{title}, against none", found["auto"].wall, found["off"].wall, "s", bar))
    return rows


def fill(path: Path, size: int, kind: str) -> None:
    text = Path(os.path.realpath(shutil.which("qemu-img") or "/bin/sh")).read_bytes()
    with open(path, "wb") as file:
        while left := size - file.tell():
            piece = os.urandom(MIB) if kind == "random" else text
            file.write(piece[:left])


def slowly(rig: Rig, *, mode: Mode) -> None:
    with slow_wires() as through:
        ours(rig, mode=mode, through=through)


@contextlib.contextmanager
def slow_wires() -> Iterator[Callable[[int], int]]:
    """Gives the port of a forwarder to a port; all its connections together pass `WIRE` bytes per second each way."""
    listeners: list[socket.socket] = []
    lock = threading.Lock()
    free_at = 0.0

    def pass_on(from_: socket.socket, to: socket.socket) -> None:
        nonlocal free_at
        with contextlib.suppress(OSError):
            while data := from_.recv(1 << 18):
                with lock:
                    now = time.monotonic()
                    free_at = max(free_at, now) + len(data) / WIRE
                    wait = free_at - now
                time.sleep(wait)
                to.sendall(data)
        for end in (from_, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(listener: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    def through(port: int) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, port), daemon=True).start()
        return int(listener.getsockname()[1])

    try:
        yield through
    finally:
        for listener in listeners:
            listener.close()


if __name__ == "__main__":
    main(run, __doc__, only=("tls", "zstd"))
