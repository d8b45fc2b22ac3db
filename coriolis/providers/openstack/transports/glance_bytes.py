# SPDX-License-Identifier: Apache-2.0
"""The bytes of images, between Glance and files of the worker, and the place of these files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import requests
from openstack.exceptions import HttpException, SDKException

from coriolis.providers.api import Conflict, Context, Invalid, Unavailable
from coriolis.providers.openstack.connection import Cloud
from coriolis.providers.openstack.errors import translated

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)
_TRIES = 5  # in a row that bring no byte
_PAUSE_SECONDS = 2.0
_STALL_SECONDS = 120.0
_PATIENCE_SECONDS = 60.0  # for an earlier attempt to let go
_PARTIAL, _FULL, _OUT_OF_RANGE = 206, 200, 416
_CUT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_UNPLAIN = re.compile(r"[^A-Za-z0-9-]")


@contextlib.contextmanager
def staged(context: Context, name: str, *, exclusive: bool = False) -> Iterator[Path]:
    """A private folder of that name, which only this attempt uses while the block lasts. It outlives the attempt when
    the worker has a place for that. ``exclusive``: an attempt that is older than the last user is refused.

    :raises Conflict: a newer attempt was there. :raises Unavailable: another attempt does not let go
    """
    folder = (context.staging or context.scratch) / _UNPLAIN.sub("_", name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _held(folder / "user.lock", context) as record:
        if exclusive:
            last = int(record.read() or b"-1")
            if last > context.epoch:
                raise Conflict(f"{name}: a newer attempt writes it")
            record.seek(0)
            record.truncate()
            record.write(str(context.epoch).encode())
        os.utime(folder)  # what is not used for long is swept
        yield folder


@contextlib.contextmanager
def _held(path: Path, context: Context) -> Iterator[IO[bytes]]:
    end = time.monotonic() + _PATIENCE_SECONDS
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Unavailable(f"{path.parent.name}: another attempt on this worker still has it") from None
            if context.cancelled.wait(0.2):
                context.check_cancelled()
        yield lock


def fetch(cloud: Cloud, image: Any, path: Path, context: Context) -> None:
    """Makes ``path`` hold the image. What is there of it already is not fetched again, if Glance serves ranges.

    :raises Unavailable: Glance does not give all of it, or other bytes than it says
    """
    digest = _hash_of(image)
    done, fruitless = _begin(path, digest), 0
    _check_room(path, (image.size or 0) - done)
    while done < (image.size or 0):
        context.check_cancelled()
        try:
            now = _part(cloud, image, path, done, digest, context)
        except _Cut as cut:
            fruitless = 0 if cut.done > done else fruitless + 1
            if fruitless >= _TRIES:
                raise Unavailable(f"fetching image {image.id}: {cut}") from None
            context.event("WARNING", f"Fetching image {image.id} was cut off at {cut.done} bytes; it goes on.")
            digest, done = cut.digest, cut.done
            context.cancelled.wait(_PAUSE_SECONDS)
            continue
        digest, done = now
    found = digest.hexdigest()
    if image.hash_value and found != image.hash_value:
        path.unlink(missing_ok=True)
        raise Unavailable(f"image {image.id} arrived with other bytes than Glance says ({image.hash_algo} {found})")


class _Cut(Exception):
    """The bytes stopped coming, after ``done`` of them."""

    def __init__(self, why: str, done: int, digest: Any) -> None:
        super().__init__(why)
        self.done, self.digest = done, digest


def _hash_of(image: Any) -> Any:
    algorithm = str(image.hash_algo or "sha512")
    try:
        return hashlib.new(algorithm)
    except ValueError:
        raise Invalid(f"image {image.id} has a digest of an unknown kind, {algorithm}") from None


def _begin(path: Path, digest: Any) -> int:
    """What is there already, and is put into the digest."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return 0
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
        return file.tell()


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise Invalid(f"the worker has {free} bytes of room in {path.parent.parent}, and {needed} are needed")


def _part(cloud: Cloud, image: Any, path: Path, done: int, digest: Any, context: Context) -> tuple[Any, int]:
    """Fetches from ``done`` on, to the end. :raises _Cut: not to the end"""
    headers = {"Range": f"bytes={done}-"} if done else {}
    with translated(f"fetching image {image.id}"):
        response = cloud.sdk.image.get(
            f"/images/{image.id}/file",
            headers={"Accept": "application/octet-stream", **headers},
            stream=True,
            timeout=_STALL_SECONDS,
            raise_exc=False,
        )
        with contextlib.closing(response):
            if response.status_code not in (_PARTIAL, _FULL, _OUT_OF_RANGE):
                raise _refused(response)
            if done and response.status_code != _PARTIAL:
                digest, done = _hash_of(image), 0  # this store gives no ranges
            if response.status_code == _OUT_OF_RANGE:
                path.write_bytes(b"")
                raise _Cut("Glance does not serve that part", 0, digest)
            try:
                with path.open("r+b") as file:
                    file.truncate(done)
                    for data in response.iter_content(_CHUNK):
                        context.check_cancelled()
                        _put(file, data, done)
                        digest.update(data)
                        done += len(data)
                        context.progress(str(image.id), done, image.size, f"fetching image {image.id}")
            except _CUT as error:
                raise _Cut(str(error), done, digest) from None
            except OSError as error:
                raise _no_room(path, error) from None
    if done < image.size:
        raise _Cut(f"it ended after {done} of {image.size} bytes", done, digest)
    return digest, done


def _refused(response: Any) -> SDKException:
    return HttpException(f"{response.reason}", response=response, http_status=response.status_code)


def _put(file: IO[bytes], data: bytes, offset: int) -> None:
    """Zeros become a hole. The file is always as long as what came."""
    if data == _ZEROS[: len(data)]:
        file.truncate(offset + len(data))
        return
    file.seek(offset)
    file.write(data)
    file.flush()


def _no_room(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Invalid(f"the worker has no room left in {path.parent.parent}")
    return Unavailable(f"{path} cannot be written: {error.strerror}")


class _Body:
    """The bytes of a file for a request; from the beginning, should the request be made again with a new token."""

    def __init__(self, path: Path, item: str, context: Context) -> None:
        self._path, self._item, self._context = path, item, context
        self._size = path.stat().st_size
        self.digest = hashlib.sha512()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self.digest, done = hashlib.sha512(), 0
        with self._path.open("rb") as file:
            while data := file.read(_CHUNK):
                self._context.check_cancelled()
                yield data
                self.digest.update(data)
                done += len(data)
                self._context.progress(self._item, done, self._size, f"uploading image {self._item}")


def send(cloud: Cloud, image: Any, path: Path, context: Context) -> None:
    """Gives a new image its bytes. Glance cannot go on with an upload that was cut off: another image is needed then.

    :raises Unavailable: Glance did not get all of it, or other bytes
    """
    body = _Body(path, str(image.id), context)
    with translated(f"uploading image {image.id}"):
        try:
            response = cloud.sdk.image.put(
                f"/images/{image.id}/file",
                data=body,
                headers={"Content-Type": "application/octet-stream", "Accept": ""},
                timeout=_STALL_SECONDS,
                raise_exc=False,
            )
        except _CUT as error:
            raise Unavailable(f"uploading image {image.id}: {error}") from None
        if response.status_code >= 400:
            raise _refused(response)
        made = cloud.sdk.image.get_image(image.id)
    if made.status != "active" or (made.hash_algo == "sha512" and made.hash_value != body.digest.hexdigest()):
        raise Unavailable(f"uploading image {image.id}: Glance has other bytes than were sent, or not all of them")
