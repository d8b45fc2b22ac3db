# SPDX-License-Identifier: Apache-2.0
"""`make demo`: migrate a small real machine from an OVA to libvirt by the command line, and talk to it there.

Exit status 0 only when the migration completed, source and target digests are equal for each disk, and the new domain's
console answered with the guest's own word that its data is whole. The report is in `demo/report.json` in any case
in which a migration began.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import libvirt
from rich.console import Console

from demo import outcome, places, serial_console
from demo.guest import Guest, build_guest
from demo.ova import Machine, build_ova
from tests.integration import libvirt_host

NETWORK = "coriolis-demo"
POOL = "coriolis-demo"
# In a network namespace of its own. "open" and without DNS: neither a firewall nor a DHCP server is needed.
NETWORK_XML = (
    f"<network><name>{NETWORK}</name><forward mode='open'/><dns enable='no'/>"
    "<ip address='192.0.2.1' prefix='24'/></network>"
)
CONSOLE = Console(highlight=False, soft_wrap=True)
START_SECONDS = 60.0
BOOT_SECONDS = 150.0


class DemoFailed(Exception):
    """The demo cannot go on; the message is for the person who started it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """The program `coriolis` of this environment, talking to the demo's standalone."""

    program: Path
    state: Path
    environment: dict[str, str]

    def __call__(self, *words: str, show: bool = False, check: bool = True) -> Any:
        """Run a command and give its JSON. With `show`, its progress goes to our terminal.

        :raises DemoFailed: exit status other than 0, unless `check` is false, when None is given
        """
        command = [str(self.program), "--state-dir", str(self.state), *words, "-f", "json"]
        errors = None if show else subprocess.PIPE
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        if check:
            raise DemoFailed(f"coriolis {' '.join(words)}: exit status {done.returncode}\n{done.stderr or ''}")
        return None


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    begun = time.monotonic()
    keep = False
    if not places.claim():
        return _failed("another one runs in this folder")
    try:
        report = _demo(begun)
        keep = report["ok"] and not os.environ.get("CI")
        _show(report, stays=keep)
        return 0 if report["ok"] else 1
    except (DemoFailed, libvirt.libvirtError, LookupError) as error:
        return _failed(str(error))
    except subprocess.CalledProcessError as error:
        return _failed(f"{error}\n{error.stderr or ''}")
    except KeyboardInterrupt:
        CONSOLE.print("\nStopped.")
        return 130
    finally:
        _end(keep)


def _failed(why: str) -> int:
    CONSOLE.print("\n[red]The demo failed:[/]", end=" ")
    CONSOLE.print(why, markup=False)
    return 1


def _interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _show(report: dict[str, Any], *, stays: bool) -> None:
    CONSOLE.print()
    for label, text in outcome.lines(report):
        CONSOLE.print(f"[bold]{label:<16}[/]", end="")
        CONSOLE.print(text, markup=False)
    CONSOLE.print(f"[bold]{'report':<16}[/]{places.REPORT.relative_to(Path.cwd())}")
    if stays:
        program = Path(sys.executable).with_name("coriolis").relative_to(Path.cwd())
        CONSOLE.print("\nThe domain and Coriolis run on.")
        CONSOLE.print("  its console, left with Ctrl-]:   make demo-console")
        CONSOLE.print(f"  the migration, by command line:  {program} --state-dir demo/state/coriolis migration list")
        CONSOLE.print("  end and remove all of it:        make demo-clean")


def _end(keep: bool) -> None:
    """Keep what runs, for the person to look at; or nothing but the log."""
    if keep:
        return
    log = places.STANDALONE_STATE / "standalone.log"
    if log.exists():
        kept = places.BUILD / "last-standalone.log"
        shutil.copyfile(log, kept)
        CONSOLE.print(f"The log of Coriolis: {kept.relative_to(Path.cwd())}")
    places.stop_all()


def _demo(begun: float) -> dict[str, Any]:
    places.REPORT.unlink(missing_ok=True)
    places.stop_all()
    short = places.make_state()
    _step("Building the guest from Debian packages, and its OVA")
    guest = build_guest(places.BUILD)
    ova = build_ova(guest, places.BUILD, Machine())
    CONSOLE.print(f"  Debian kernel {guest.kernel}, disk of {guest.spec.disk_mib} MiB, {ova.relative_to(Path.cwd())}")
    _step("Starting a libvirt of its own")
    host = _start_libvirt(short / "libvirt")
    _step("Starting coriolis-standalone")
    coriolis = _start_standalone()
    _step("Creating the two endpoints and the migration")
    origin = _endpoint(coriolis, "demo-ova", "ova", {"path": str(ova)})
    target = _endpoint(coriolis, "demo-libvirt", "libvirt", host.connection_info)
    started = time.monotonic()
    migration = coriolis(
        "migration", "create",
        "--origin-endpoint", origin,
        "--destination-endpoint", target,
        "--instance", Machine().name,
        "--network", f"{Machine().network}={NETWORK}",
        "--default-storage", POOL,
        "--notes", "make demo",
    )  # fmt: skip
    CONSOLE.print(f"  migration {migration['id']}")
    _step("Migrating")
    coriolis("migration", "wait", migration["id"], show=True, check=False)
    migration = coriolis("migration", "show", migration["id"])
    migrated = time.monotonic()
    report = outcome.of_migration(migration)
    report |= {"uri": host.uri, "domain": None, "guest": None, "booted": False, "certificate": None}
    if migration["status"] == "COMPLETED":
        _step("Checking the certificate of the migration, without the service")
        report["certificate"] = _check_certificate(coriolis, migration["id"], guest)
        _step("Waiting for the console of the new domain")
        report |= _look_at(host, guest)
    ended = time.monotonic()
    times = {"migration": migrated - started, "boot": ended - migrated, "all": ended - begun}
    report["seconds"] = round(ended - started, 1)
    report["phases"] = {name: round(seconds, 1) for name, seconds in times.items()}
    report["ok"] = outcome.is_good(report)
    _write(report)
    return report


def _step(text: str) -> None:
    CONSOLE.print(f"[bold cyan]==>[/] {text}")


def _write(report: dict[str, Any]) -> None:
    part = places.REPORT.with_suffix(".part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.rename(places.REPORT)


def _start_libvirt(directory: Path) -> libvirt_host.LibvirtHost:
    if os.geteuid():
        raise DemoFailed("a libvirt of its own needs root here; run: sudo make demo")
    try:
        host, _ = libvirt_host.start(directory, detached=True, own_network=True)
    except RuntimeError as error:
        raise DemoFailed(str(error)) from error
    places.note("libvirt", host.pid)
    host.define_pool(POOL, places.POOL)
    connection = libvirt.open(host.uri)
    try:
        connection.networkDefineXML(NETWORK_XML).create()
    finally:
        connection.close()
    return host


def _start_standalone() -> Command:
    programs = Path(sys.executable).parent
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OS_", "CORIOLIS_", "PYTHON"))
    }
    environment["PATH"] = f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = [str(programs / "coriolis-standalone"), "--state-dir", str(places.STANDALONE_STATE), "--port", "0"]
    process = places.start("standalone", command, places.STANDALONE_LOG, environment)
    coriolis = Command(program=programs / "coriolis", state=places.STANDALONE_STATE, environment=environment)
    answers = places.wait_until(
        lambda: process.poll() is not None or coriolis("provider", "list", check=False) is not None, START_SECONDS
    )
    if not answers or process.poll() is not None:
        said = places.STANDALONE_LOG.read_text(errors="replace")[-3000:]
        raise DemoFailed(f"coriolis-standalone does not answer:\n{said}")
    return coriolis


def _endpoint(coriolis: Command, name: str, kind: str, connection: dict[str, Any]) -> str:
    file = places.STATE / f"{name}.json"
    file.write_text(json.dumps(connection))
    made = coriolis("endpoint", "create", "--name", name, "--type", kind, "--connection-info", str(file))
    CONSOLE.print(f"  endpoint {made['id']} {name}")
    return str(made["id"])


def _check_certificate(coriolis: Command, migration: str, guest: Guest) -> str:
    """The signature, by the service's own key, and the source's bytes: the new disk is being written by its guest.

    :raises DemoFailed: it is not valid
    """
    certificate, key = places.STATE / "certificate.json", places.STATE / "certificate-key.json"
    certificate.write_text(json.dumps(coriolis("certificate", "show", migration)))
    key.write_text(json.dumps(coriolis("certificate", "key", "show")))
    words = ["certificate", "verify", str(certificate), "--key", str(key), "--disk", str(guest.disk)]
    command = [str(coriolis.program), *words]
    done = subprocess.run(command, env=coriolis.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise DemoFailed(f"coriolis {' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    for line in done.stdout.splitlines():
        CONSOLE.print(f"  {line}", markup=False)
    return str(certificate)


def _look_at(host: libvirt_host.LibvirtHost, guest: Guest) -> dict[str, Any]:
    """Find the one running domain, and ask it on its console; `booted` says whether all was as it must be."""
    connection = serial_console.connect(host.uri)
    try:
        domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        if len(domains) != 1:
            return {"guest": f"{len(domains)} domains run instead of one"}
        (domain,) = domains
        found = {"domain": domain.name()}
        conversation = serial_console.Conversation(connection, domain)
        try:
            return found | _ask(conversation, guest)
        except serial_console.SilentGuest as error:
            return found | {"guest": str(error)}
        finally:
            conversation.close()
    finally:
        connection.close()


def _ask(conversation: serial_console.Conversation, guest: Guest) -> dict[str, Any]:
    """The shell must answer, and the guest's check of its files must give the digest that we built."""
    conversation.listen(r"guest:\S* ?[#$] ", BOOT_SECONDS, nudge_after=30)
    conversation.ask("cat /tmp/said; echo the answer is $((6 * 7))")
    heard = conversation.listen(r"(?s)data ok ([0-9a-f]{64}).*the answer is 42\b", 60)
    boots = re.search(r"coriolis-guest: boot (\d+)", conversation.heard)
    CONSOLE.print(f"  the guest says: data ok {heard[1]}")
    return {
        "booted": heard[1] == guest.data_digest and boots is not None,
        "guest": {"data_digest": heard[1], "expected": guest.data_digest, "boots": int(boots[1]) if boots else None},
    }


if __name__ == "__main__":
    sys.exit(main())
