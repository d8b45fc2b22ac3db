# SPDX-License-Identifier: Apache-2.0
"""What the demo reports: the facts of a migration as the API shows it, and whether they are good."""

from __future__ import annotations

from typing import Any

COUNTS = ("bytes_read", "bytes_skipped", "bytes_written")


def of_migration(migration: dict[str, Any]) -> dict[str, Any]:
    """Digests and byte counts per disk, from the answer of the API to `migration show`."""
    results = migration.get("transfer_result") or {}
    disks = []
    for instance, result in results.items():
        for disk in result.get("integrity", {}).get("disks", []):
            row = {"instance": instance, "id": disk.get("disk_id"), "size_bytes": disk.get("size_bytes")}
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


def lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report for a person, as labels and texts."""
    rows = [("migration", f"{report['migration_id']}  {report['status']}")]
    for disk in report["disks"]:
        counts = ", ".join(f"{name.removeprefix('bytes_')} {_mib(disk[name])}" for name in COUNTS)
        rows += [
            (f"disk {disk['id']}", counts),
            ("  source digest", str(disk["source_digest"])),
            ("  target digest", str(disk["target_digest"])),
        ]
    rows.append(("certificate", str(report.get("certificate") or "none")))
    rows += [("error", str(error)) for error in report["errors"]]
    rows.append(("domain", f"{report['domain']}, {'its console answers' if report['booted'] else 'NOT booted'}"))
    if not report["booted"]:
        rows.append(("guest", str(report["guest"])))
    phases = report["phases"]
    parts = f"migration {phases['migration']}, boot {phases['boot']}"
    rows.append(("seconds", f"{report['seconds']} ({parts}); demo {phases['all']} in all"))
    return rows


def _mib(count: int | None) -> str:
    return "unknown" if count is None else f"{count / (1 << 20):.1f} MiB"
