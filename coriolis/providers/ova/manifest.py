# SPDX-License-Identifier: Apache-2.0
"""The manifest of an OVF package (``.mf``): a digest per file, checked before the first byte is used."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coriolis.providers.api import Context, Invalid
from coriolis.providers.ova.package import Package
from coriolis.providers.ova.window import Window

_SIZE_LIMIT = 1 << 20
_LINE = re.compile(r"\s*([A-Za-z0-9-]{1,16})\s*\((.{1,1024})\)\s*=\s*([0-9A-Fa-f]{1,256})\s*")
_ALGORITHMS = {"SHA1": "sha1", "SHA224": "sha224", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    algorithm: str  # as hashlib calls it
    digest: str  # lower-case hex


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """``digest``: SHA-256 of the manifest's own text, which stands for all digests in it."""

    entries: tuple[Entry, ...]
    digest: str

    def covers(self, name: str) -> bool:
        return any(entry.name == name for entry in self.entries)


def read(package: Package) -> Manifest | None:
    """The package's manifest, or None when it has none. A certificate (``.cert``) is not looked at.

    :raises Invalid: it is not a manifest
    """
    name = str(PurePosixPath(package.descriptor).with_suffix(".mf").name)
    window = package.find(name)
    if window is None:
        return None
    data = window.read(_SIZE_LIMIT)
    entries: dict[str, Entry] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        algorithm = _ALGORITHMS.get(match[1].upper().replace("-", "")) if match else None
        if match is None or algorithm is None or len(match[3]) != 2 * hashlib.new(algorithm).digest_size:
            raise Invalid(f"{package.path.name}: line {number} of the manifest {name} is not clear: {line[:99]!r}.")
        if match[2] in entries:
            raise Invalid(f"{package.path.name}: the manifest {name} lists {match[2]!r} twice.")
        entries[match[2]] = Entry(name=match[2], algorithm=algorithm, digest=match[3].lower())
    return Manifest(entries=tuple(entries.values()), digest=hashlib.sha256(data).hexdigest())


def verify(package: Package, manifest: Manifest, context: Context) -> None:
    """Reads every listed file once, with progress (item ``manifest``, in bytes).

    :raises Invalid: a listed file is missing or has another digest; names it
    """
    windows = [(entry, _locate(package, entry)) for entry in manifest.entries]
    total, done = sum(window.length for _, window in windows), 0
    for entry, window in windows:
        digest = hashlib.new(entry.algorithm)
        for data in window.chunks():
            context.check_cancelled()
            digest.update(data)
            done += len(data)
            context.progress("manifest", done, total, f"Checking the digest of {entry.name}")
        if not hmac.compare_digest(digest.hexdigest(), entry.digest):
            raise Invalid(
                f"{package.path.name}: {entry.name!r} has not the {entry.algorithm.upper()} digest that the manifest"
                " says. The file was damaged or changed after the export: copy or export the package again."
            )


def _locate(package: Package, entry: Entry) -> Window:
    if entry.name == Path(package.descriptor).name and not package.archived:
        return Window(path=package.path, length=package.path.stat().st_size)
    try:
        return package.locate(entry.name)
    except Invalid as error:
        raise Invalid(f"The manifest of {error.message}") from error
