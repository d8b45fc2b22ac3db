# SPDX-License-Identifier: Apache-2.0
"""``coriolis certificate verify``: needs no service.

Exit status: 0 all is as certified; 1 it is not (changed certificate, another key, other bytes); 2 it cannot be said (a
file or disk cannot be read, or a disk was not named rightly).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cliff import command

from coriolis import dataplane
from coriolis.certificate import check, document, signature

WRONG, UNKNOWN = 1, 2
Json = Any


class Verify(command.Command):
    """Check a certificate, and disks against it; needs no service."""

    examples = (
        "certificate verify web1.json",
        "certificate verify web1.json --key service-key.json --disk disk-0=/var/lib/libvirt/images/web1.qcow2",
    )
    auth_required = False

    def get_parser(self, prog_name: str) -> Any:
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("file", metavar="FILE", help="the certificate; - reads standard input")
        parser.add_argument(
            "--disk",
            action="append",
            default=[],
            dest="disks",
            metavar="[[INSTANCE/]DISK=]PATH_OR_NBD_URI",
            help="read this disk and compare it; an image file, a block device or an NBD URI; may be repeated",
        )
        parser.add_argument(
            "--key", metavar="FILE", help="public key of the service that must have signed: PEM, base64 or its answer"
        )
        return parser

    def get_epilog(self) -> str:
        return "Examples:\n" + "\n".join(f"  $ coriolis {example}" for example in self.examples)

    def take_action(self, parsed_args: Any) -> int:
        try:
            return _verify(parsed_args.file, parsed_args.key, parsed_args.disks)
        except signature.BadCertificate as error:
            _say(f"NOT VALID: {error}")
            return WRONG
        except (OSError, ValueError, signature.BadKey, check.NoSuchDisk, dataplane.DataplaneError) as error:
            sys.stderr.write(f"It cannot be said: {error}\n")
            return UNKNOWN


def _verify(file: str, key_file: str | None, words: list[str]) -> int:
    certificate = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text("utf-8"))
    certificate = certificate.get("certificate", certificate) if isinstance(certificate, dict) else certificate
    trusted = signature.read_public(Path(key_file).read_text("utf-8")) if key_file else None
    key_id = signature.verify(certificate, trusted)
    wanted = check.match(certificate, words)
    _say(f"Signature: good, by the key {key_id}" + ("" if trusted else " that it names itself (see --key)"))
    _say(f"Execution: {certificate['execution']['id']}, finished {certificate['execution']['finished_at']}")
    for instance, disk in document.disks(certificate):
        verified = disk["verification"]["mode"]
        rounds = f"{len(disk['rounds'])} round" + ("s" if len(disk["rounds"]) != 1 else "")
        _say(f"Disk:      {instance}/{disk['disk_id']}, {disk['size_bytes']} bytes, {rounds}, verification {verified}")
        _say(f"           {disk['root']}")
        if disk["bytes_left_out"]:
            _say(f"           {disk['bytes_left_out']} bytes of free space were left out and count as zeros")
    wrong = 0
    for one in wanted:
        found = check.digest_of(one)
        same = found == one.disk["root"]
        wrong += not same
        told = "holds exactly these bytes" if same else f"DIFFERS: its digest is {found}"
        _say(f"Compared:  {one.where} {told}")
    return WRONG if wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
