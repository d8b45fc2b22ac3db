# SPDX-License-Identifier: Apache-2.0
"""What a cloud stands on: a RabbitMQ, a MariaDB with the tables of every service, and a libvirtd for each host."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.lab.places import HERE, LAB, PASSWORD, Home, locked
from tests.lab.processes import LabError, Processes, listens, wait_until
from tests.lab.release import APIS, MANAGE
from tests.lab.spec import CloudSpec

_BROKER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_QUIET = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"
# Runs a set-up command of a service: its name, the program, the words.
Manage = Callable[[str, str, Iterable[str]], None]


def user_name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def start_broker(spec: CloudSpec, home: Home, processes: Processes, environment: Mapping[str, str]) -> None:
    """Does not wait for it. epmd must listen before RabbitMQ starts; a broker per cloud needs its own."""
    folder = home.var / "rabbit"
    folder.mkdir(exist_ok=True)
    epmd = spec.port("epmd")
    more = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"{spec.name}@localhost",
        "RABBITMQ_DIST_PORT": str(spec.port("rabbit_dist")),
        "RABBITMQ_CONFIG_FILE": str(home.etc / "rabbitmq.conf"),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(home.log),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _QUIET,
    }
    environment = {**environment, **more}
    processes.start("epmd", ["epmd", "-address", "127.0.0.1", "-port", str(epmd)], environment)
    if not wait_until(lambda: listens(epmd), 30):
        raise LabError(f"no epmd: see {home.log}/epmd.log")
    processes.start("rabbit", [_BROKER], environment)


def start_database(spec: CloudSpec, home: Home, processes: Processes, environment: Mapping[str, str]) -> None:
    """Until it accepts connections. Nothing is flushed to the disk: a power cut costs a lab only."""
    port = spec.port("mariadb")
    command = f"""/usr/sbin/mariadbd --no-defaults --user={user_name()} --datadir={home.db} --port={port}
        --bind-address=127.0.0.1 --socket={home.run}/mariadb.sock --pid-file={home.run}/mariadb.own --skip-log-bin
        --max-connections=2000 --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --innodb-flush-method=nosync
        --innodb-buffer-pool-size=256M --innodb-log-file-size=32M --character-set-server=utf8mb4
        --performance-schema=OFF --skip-name-resolve"""
    processes.start("mariadb", command.split(), environment)
    if not wait_until(lambda: listens(port), 90, lambda: processes.pid("mariadb") is not None):
        raise LabError(f"no MariaDB: see {home.log}/mariadb.log")


def fill_database(
    spec: CloudSpec, home: Home, key: str, *, start: Callable[[], None], stop: Callable[[], None], manage: Manage
) -> None:
    """Fresh tables of every service, from the cache of this very release when they were made before."""
    shutil.rmtree(home.db, ignore_errors=True)
    with locked(f"tables-{key}"):
        cache = LAB / "tables" / key
        if not cache.exists():
            _make_tables(home, start, manage)
            stop()
            part = cache.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(home.db, part)
            part.rename(cache)
            return
    shutil.copytree(cache, home.db)


def _make_tables(home: Home, start: Callable[[], None], manage: Manage) -> None:
    install = ["mariadb-install-db", "--no-defaults", f"--user={user_name()}", "--skip-test-db", f"--datadir={home.db}"]
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL, cwd=home.path
    )
    start()
    names = ["nova_api", "nova_cell0", *APIS]
    statements = [f"CREATE USER lab@'%' IDENTIFIED BY '{PASSWORD}'", "GRANT ALL ON *.* TO lab@'%'"]
    statements += [f"CREATE DATABASE {name}" for name in names]
    client = ["mariadb", "--no-defaults", f"--socket={home.run}/mariadb.sock", "-u", "root"]
    subprocess.run(client, input=";".join(statements), text=True, check=True)

    def set_up(service: str) -> None:
        program, commands = MANAGE[service]
        for words in commands:
            manage(service, program, words)

    with ThreadPoolExecutor(len(MANAGE)) as pool:
        list(pool.map(set_up, MANAGE))


def start_target(spec: CloudSpec, home: Home, processes: Processes, environment: Mapping[str, str]) -> None:
    """tgtd, the iSCSI target in user space, until it listens."""
    port = spec.port("tgt")
    processes.start("tgt", ["tgtd", "--foreground", "--iscsi", f"portal=127.0.0.1:{port}"], environment)
    if not wait_until(lambda: listens(port), 30, lambda: processes.pid("tgt") is not None):
        raise LabError(f"no iSCSI target: see {home.log}/tgt.log")


# --- libvirt -----------------------------------------------------------------------------------------------------


def start_libvirt(spec: CloudSpec, home: Home, processes: Processes, environment: Mapping[str, str]) -> None:
    """One libvirtd per host, each in mount and UTS namespaces of its own."""
    for host in spec.host_names:
        folder = home.var / "libvirt" / host
        folder.mkdir(parents=True, exist_ok=True)
        name = f"libvirt-{host}"
        socket = folder / "run/libvirt-sock"
        if not processes.pid(name):
            socket.unlink(missing_ok=True)
        command = [
            "unshare",
            "-m",
            "-u",
            "--propagation",
            "private",
            "sh",
            str(HERE / "libvirtd.sh"),
            host,
            str(folder),
        ]
        processes.start(name, command, environment)
        if not wait_until(socket.exists, 60, lambda: processes.pid(name) is not None):  # noqa: B023
            raise LabError(f"no libvirtd: see {home.log}/{name}.log")


def stop_libvirt(spec: CloudSpec, home: Home, processes: Processes) -> None:
    """Guests are ended as by a power cut; Nova starts them again with the cloud."""
    for host in spec.host_names:
        folder = home.var / "libvirt" / host
        text = "".join(path.read_text() for path in (folder / "etc/qemu").glob("*.xml"))
        guests = set(re.findall(r"<uuid>([0-9a-f-]{36})</uuid>", text))
        for path in (folder / "run/qemu").glob("*.pid"):
            _end_guest(int(path.read_text()), guests)
    processes.stop([f"libvirt-{host}" for host in spec.host_names])


def _end_guest(pid: int, guests: set[str]) -> None:
    """Only when its command line names a guest of ours: the number may be somebody else's by now."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        if "qemu" in words[0] and guests & set(words):
            os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
