# SPDX-License-Identifier: Apache-2.0
"""Disk images served over NBD by a qemu-nbd that runs on the host of the image.

A shell script keeps qemu-nbd: it ends it, and removes its socket, as soon as the script's standard input ends, which
it does when this process or the SSH connection dies in any way.

A writer leaves a record (epoch and process id) beside the image, and holds its lock while it changes. A newer writer
ends the older one's qemu-nbd before its own begins, and an older one is refused: what a zombie still has in hand
cannot reach the image. The record stays until the volume is deleted, or its domain started. QEMU's own image lock
refuses writers on other machines, and running domains.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from coriolis.providers.api.context import Context
from coriolis.providers.api.errors import Conflict, Gone, Invalid, ProviderError, Unauthorized, Unavailable
from coriolis.providers.api.hosts import Host, end, first_line, run

START_SECONDS = 45.0

# Exit statuses of the script.
_HELD_BY_NEWER, _REFUSED, _LOCK_BUSY, _NO_RECORD = 73, 74, 75, 77

# A TERM that qemu-nbd gets just before its main loop is lost, so it is repeated.
_ENSURE_ALONE = """\
terminate() {
    tries=0
    while kill -TERM "$1" 2>/dev/null && "$2" "$1"; do
        tries=$((tries + 1)); [ $tries -lt 200 ] || kill -KILL "$1"
        sleep 0.05
    done
}
there() { kill -0 "$1" 2>/dev/null; }
alive() { [ "${1:--}" != - ] && tr '\\0' '\\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF -e "$image"; }
evict() {
    held_epoch=; held_pid=
    read -r held_epoch held_pid <"$record" || :
    [ "${held_epoch:-0}" -le "$epoch" ] || return 1
    ! alive "$held_pid" || terminate "$held_pid" alive
}
lock() {
    while :; do
        exec 9>>"$record" || exit 77
        flock -w 20 9 || exit 75
        [ "$record" -ef /proc/self/fd/9 ] && return
    done
}
"""
# $1 record ("" for none), $2 epoch, $3 image, then options of qemu-nbd. Says "ready SOCKET".
_SERVE = (
    "record=$1 epoch=$2 image=$3; shift 3\n"
    + _ENSURE_ALONE
    + """\
trap '' PIPE HUP
exec 3<&0 </dev/null
folder=$(mktemp -d /tmp/coriolis-XXXXXX) || exit 70
trap 'rm -rf "$folder"' EXIT
socket=$folder/nbd
if [ -n "$record" ]; then
    lock
    evict || exit 73
fi
qemu-nbd --persistent --shared=16 --socket="$socket" "$@" "$image" 3<&- 9>&- >/dev/null 2>"$folder/said" &
server=$!
if [ -n "$record" ]; then echo "$epoch $server" >"$record"; exec 9>&-; fi
while [ ! -S "$socket" ] && there $server; do sleep 0.03; done
# qemu-nbd listens before it opens the image, and answers after.
until qemu-nbd --list --socket="$socket" >/dev/null 2>&1 || ! there $server; do sleep 0.03; done
status=0
if there $server; then
    echo "ready $socket"
    (read -r _ <&3; terminate $server there) &
    watcher=$!
    wait $server; kill $watcher 2>/dev/null
else
    cat "$folder/said" >&2; status=74
fi
if [ -e "$record" ] && command exec 9<"$record" && flock -w 20 9; then
    earlier=$held_epoch
    read -r held_epoch held_pid <"$record" || :
    if [ "$held_pid" = $server ]; then
        if [ $status = 0 ]; then echo "$epoch -" >"$record"
        elif [ -n "$earlier" ]; then echo "$earlier -" >"$record"
        else rm -f "$record"; fi
    fi
fi
exit $status
"""
)
_STOP = (
    "record=$1 epoch=9223372036854775807 image=$2\n"
    + _ENSURE_ALONE
    + """\
[ -e "$record" ] || exit 0
lock; evict; rm -f "$record"
"""
)

_REFUSALS: tuple[tuple[str, type[ProviderError], str], ...] = (
    ("failed to get", Conflict, "a domain or another program has it open"),
    ("no such file", Gone, "it does not exist"),
    ("permission denied", Unauthorized, "the worker may not open it; run the worker as root or in a group that may"),
    ("bitmap", Conflict, "its dirty bitmap is missing or damaged"),
    ("no space left", Invalid, "its file system is full"),
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """An image to serve. ``record``: path of the writer's record; None for readers, and for a writer that nothing else
    can write beside (``alone``). ``bitmap``: to offer with it."""

    image: str
    format: str
    record: str | None = None
    bitmap: str | None = None
    alone: bool = False

    @property
    def writable(self) -> bool:
        return self.alone or self.record is not None

    def options(self) -> list[str]:
        options = [f"--format={self.format}"]
        options += ["--cache=writeback", "--discard=unmap"] if self.writable else ["--read-only"]
        return [*options, f"--bitmap={self.bitmap}"] if self.bitmap else options


def nbd_uri(socket: str, export: str = "") -> str:
    return f"nbd+unix:///{urllib.parse.quote(export, safe='')}?socket={urllib.parse.quote(socket)}"


@contextlib.contextmanager
def served(host: Host, export: Export, context: Context) -> Iterator[str]:
    """The URI of the image's NBD server, while the block lasts.

    :raises Conflict: a newer attempt writes it, or a domain runs on it
    """
    argv = ["sh", "-c", _SERVE, "coriolis-export", export.record or "", str(context.epoch), export.image]
    with tempfile.TemporaryFile(dir=context.scratch) as said:
        process = subprocess.Popen(
            host.command([*argv, *export.options()]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        try:
            word, _, socket = first_line(process, START_SECONDS, context).decode().strip().partition(" ")
            if word != "ready":
                end(process)
                raise _refusal(export, process.returncode, said)
            with host.reach(socket) as local:
                yield nbd_uri(local)
        finally:
            end(process)


def stop_writer(host: Host, image: str, record: str) -> None:
    """Ends whoever writes the image through `served`, and removes the record. Content when nobody does."""
    done = run(host, ["sh", "-c", _STOP, "coriolis-export", record, image])
    if done.returncode != 0:
        raise Unavailable(f"the writer of {image} could not be stopped: {done.stderr.strip() or done.returncode}")


def forget_writers(host: Host, records: list[str]) -> None:
    """Removes records of images that QEMU's lock guards from now on."""
    if records:
        run(host, ["rm", "-f", "--", *records])


def _refusal(export: Export, status: int | None, said: IO[bytes]) -> ProviderError:
    said.seek(0)
    words = said.read(65536).decode(errors="replace").strip()
    if status == _HELD_BY_NEWER:
        return Conflict(f"{export.image}: a newer attempt writes it")
    if status == _LOCK_BUSY:
        return Unavailable(f"{export.image}: another attempt is opening it")
    if status == _NO_RECORD:
        return Unauthorized(f"{export.image}: the worker may not write in its folder: {words}")
    if status == _REFUSED:
        for pattern, kind, cure in _REFUSALS:
            if pattern in words.lower():
                return kind(f"{export.image} cannot be opened: {cure} ({words})")
        return Conflict(f"{export.image} cannot be opened: {words}")
    return Unavailable(f"qemu-nbd for {export.image} did not start: {words or status}")
