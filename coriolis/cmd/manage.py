# SPDX-License-Identifier: Apache-2.0
"""``coriolis-manage``: what an administrator does next to the services."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oslo_config import cfg

from coriolis import conf as configuration
from coriolis.certificate import signature
from coriolis.cmd import images
from coriolis.cmd.database import database_of
from coriolis.commands import jobs
from coriolis.commands.explain import explain
from coriolis.domain.errors import CoriolisError
from coriolis.runtime import certificates, local_token, secrets
from coriolis.store import schema

PROGRAM = "coriolis-manage"
DESCRIPTION = "What an administrator does next to the services: set up, look into an execution, clean up."
Action = Callable[[cfg.ConfigOpts], str]


def db_sync(conf: cfg.ConfigOpts) -> str:
    """Bring the database to this release; safe to run again, and while services run."""
    return f"The database is at revision {schema.upgrade(database_of(conf))}."


def db_check(conf: cfg.ConfigOpts) -> str:
    """Say whether the database is at this release."""
    schema.check(database_of(conf))
    return "The database is up to date."


def explain_execution(conf: cfg.ConfigOpts) -> str:
    """Show an execution's graph, states, owners and last events, by the id of a migration or an execution."""
    return explain(database_of(conf), conf.action.id)


def purge(conf: cfg.ConfigOpts) -> str:
    """Delete the records of migrations and deployments that ended, and of transfers that were deleted, long ago."""
    count = jobs.purge(database_of(conf), older_than_days=conf.action.days)
    return f"Deleted {count} jobs that ended more than {conf.action.days} days ago."


def secrets_create_key(conf: cfg.ConfigOpts) -> str:
    """Make the key file; copy it to all API and worker hosts."""
    path = Path(conf.secrets.key_file)
    if path.exists():
        sys.exit(f"{path} exists and is kept. To change the key, run 'coriolis-manage secrets rotate-key'.")
    secrets.create_keys(path)
    return f"Made {path}. Copy it to all API and worker hosts, mode 0600."


def secrets_rotate_key(conf: cfg.ConfigOpts) -> str:
    """Put a new key in front of the key file; what is stored stays readable by the older ones."""
    secrets.rotate_keys(Path(conf.secrets.key_file))
    return f"Put a new key in front of {conf.secrets.key_file}. Copy it to all hosts, workers first."


def certificate_create_key(conf: cfg.ConfigOpts) -> str:
    """Make the key that signs integrity certificates; copy it to all API hosts."""
    path = Path(conf.api.certificate_key_file)
    if path.exists():
        sys.exit(f"{path} exists and is kept: with another key, older certificates could not be checked any more.")
    told = signature.public(signature.create_key(path))
    return f"Made {path}, key {told['key_id']}. Copy it to all API hosts, mode 0600.\nPublic: {told['public_key']}"


def links_create_authority(conf: cfg.ConfigOpts) -> str:
    """Make the authority that certifies workers for links between sites; copy its files to all conductor hosts."""
    files = conf.link.authority_certificate_file, conf.link.authority_key_file
    if not all(files):
        sys.exit("Name its files first: [link] authority_certificate_file and authority_key_file.")
    certificates.create_authority(Path(files[0]), Path(files[1]), now=dt.datetime.now(dt.UTC))
    return f"Made {files[0]} and {files[1]}. Copy both to all conductor hosts, the key with mode 0600."


def links_issue(conf: cfg.ConfigOpts) -> str:
    """Issue a certificate by hand, for a worker that is not to ask the conductor; NAME.pem and NAME.key are made."""
    signer = certificates.load_authority(Path(conf.link.authority_certificate_file), Path(conf.link.authority_key_file))
    name, days = conf.action.dns_name, conf.action.days
    files = Path(f"{name}.pem"), Path(f"{name}.key")
    certificates.issue(signer, [name], *files, now=dt.datetime.now(dt.UTC), hours=24 * days)
    return f"Made {files[0]} and {files[1]}, for {days} days."


# (words, function, arguments)
ACTIONS: tuple[tuple[str, Action, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    ("db sync", db_sync, ()),
    ("db check", db_check, ()),
    ("explain", explain_execution, (("id", {"help": "id of a migration or an execution"}),)),
    ("purge", purge, (("--days", {"type": int, "default": 90, "help": "age in days (default 90)"}),)),
    ("certificate create-key", certificate_create_key, ()),
    ("secrets create-key", secrets_create_key, ()),
    ("secrets rotate-key", secrets_rotate_key, ()),
    ("links create-authority", links_create_authority, ()),
    (
        "links issue",
        links_issue,
        (
            ("dns_name", {"metavar": "NAME", "help": "DNS name of the worker"}),
            ("--days", {"type": int, "default": 30, "help": "how long it is valid (default 30)"}),
        ),
    ),
    (
        "image convert",
        images.convert,
        (
            ("source", {"help": "a disk image; it is inspected before QEMU sees it"}),
            ("target", {"help": "the file to make; an old one is replaced once the new one is whole"}),
            ("--format", {"choices": list(images.FORMATS), "required": True, "help": "of the target"}),
            ("--source-format", {"choices": list(images.FORMATS), "help": "found out by content unless given"}),
            ("--no-digest", {"action": "store_true", "help": "do not compute the digest of the disk"}),
        ),
    ),
)


def _parsers(top: Any) -> None:
    groups: dict[str, Any] = {}
    for words, function, arguments in ACTIONS:
        *group, verb = words.split()
        owner = top
        if group:
            if group[0] not in groups:
                groups[group[0]] = top.add_parser(group[0]).add_subparsers(dest="verb", required=True, metavar="VERB")
            owner = groups[group[0]]
        parser: argparse.ArgumentParser = owner.add_parser(verb, help=function.__doc__, description=function.__doc__)
        parser.set_defaults(run=function)
        for name, options in arguments:
            parser.add_argument(name, **options)


def main() -> int:
    """Exit status 0 when done, 1 with the cause on standard error."""
    cli = [cfg.SubCommandOpt("action", title="actions", handler=_parsers)]
    try:
        conf = configuration.load(sys.argv[1:], program=PROGRAM, cli=cli, description=DESCRIPTION)
        sys.stdout.write(conf.action.run(conf).rstrip() + "\n")
    except (cfg.Error, CoriolisError, OSError, local_token.UnsafeFile) as error:
        sys.exit(f"{PROGRAM}: {error}")
    return 0
