# SPDX-License-Identifier: Apache-2.0
"""What the demo reports: the facts of a migration as the API shows it, and whether they are good."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

COUNTS = ("bytes_read", "bytes_skipped", "bytes_written")


def of_migration(migration: dict[str, Any]) -> dict[str, Any]:
    """Digests and byte counts per disk, from the answer of the API to `migration show`."""
    results = migration.get("transfer_result") or {}
    disks = []
    for instance, result in results.items():
        for disk in result.get("disks", []):
            row = {"instance": instance, "id": disk.get("id"), "size_bytes": disk.get("size_bytes")}
            row |= {name: disk.get(name) for name in ("source_digest", "target_digest", *COUNTS)}
            disks.append(row)
    errors = [task["exception_details"] for task in migration.get("tasks") or [] if task.get("exception_details")]
    return {"migration_id": migration["id"], "status": migration["status"], "disks": disks, "errors": errors}


def is_good(report: dict[str, Any]) -> bool:
    """Completed, at least one disk, every disk's digests present and equal, and the guest answered."""
    disks = report["disks"]
    return (
        report["status"] == "COMPLETED"
        and bool(disks)
        and all(disk["source_digest"] and disk["source_digest"] == disk["target_digest"] for disk in disks)
        and report["booted"] is True
    )


def show(console: Console, report: dict[str, Any], *, stays: bool) -> None:
    """Print the report for a person; `stays` says that the domain goes on running."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("migration", f"{report['migration_id']}  {report['status']}")
    for disk in report["disks"]:
        table.add_row(f"disk {disk['id']}", f"source digest {disk['source_digest']}")
        table.add_row("", f"target digest {disk['target_digest']}")
        counts = ", ".join(f"{name.removeprefix('bytes_')} {_mib(disk[name])}" for name in COUNTS)
        table.add_row("", counts)
    for error in report["errors"]:
        table.add_row("error", str(error))
    table.add_row("domain", f"{report['domain']}, {'console answers' if report['booted'] else 'NOT booted'}")
    if not report["booted"]:
        table.add_row("guest", str(report["guest"]))
    phases = report["phases"]
    table.add_row(
        "seconds",
        f"{report['seconds']} (migration {phases['migration']}, boot {phases['boot']}; demo {phases['all']} in all)",
    )
    console.print()
    console.print(table)
    if stays:
        console.print(f"\nThe domain runs on. Look at it: [bold]make demo-console[/], or virsh -c '{report['uri']}'")
        console.print("Remove everything: [bold]make demo-clean[/]")


def _mib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / (1 << 20):.1f} MiB"
