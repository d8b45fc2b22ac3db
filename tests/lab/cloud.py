# SPDX-License-Identifier: Apache-2.0
"""One real OpenStack cloud on the loopback: unchanged services, configured, started and stopped.

All that belongs to it is in ``<lab>/clouds/NAME``. ``up`` may be repeated, it starts what does not run; ``down`` keeps
the data, ``wipe`` drops them. Single services are stopped, paused and started by their names, for tests of failure.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import identity, places, servers, settings
from tests.lab import spec as specs
from tests.lab.install import Installation, installed
from tests.lab.places import HERE, PASSWORD, REGION
from tests.lab.processes import LabError, Processes, answers, listens, wait_until
from tests.lab.release import MANAGE, ORDER, RELEASES
from tests.lab.spec import CloudSpec

# Seconds that a service has to answer, on a machine that does many other things.
_PATIENCE = 300.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Cloud:
    """A cloud by its name; ``spec`` is what it was last asked to be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.home = places.home(name)
        self._options = self.home.path / "options.json"
        self._spec = specs.read(self._options)
        self.processes = Processes(self.home.run, self.home.log, self.home.path)

    @property
    def spec(self) -> CloudSpec:
        if self._spec is None:
            raise LabError(f"cloud {self.name} was never brought up")
        return self._spec

    @property
    def exists(self) -> bool:
        return self._spec is not None

    # --- all of it ---------------------------------------------------------------------------------------------

    def up(self, spec: CloudSpec) -> None:
        """Be what ``spec`` says. A running cloud that was asked to be something else is stopped first."""
        if os.geteuid():
            raise LabError("the lab needs root: bind mounts, namespaces and bridges")
        installation = installed(spec.release)
        with places.locked(self.name):
            if self._spec not in (None, spec):
                self._down()
            self.home.make()
            specs.write(self._options, spec)
            self._spec = spec
            self._up(installation)

    def down(self) -> None:
        """Stop every process. The data stay; running servers are found stopped and started by the next `up`."""
        with places.locked(self.name):
            self._down()

    def wipe(self) -> None:
        with places.locked(self.name):
            self._down()
            shutil.rmtree(self.home.path, ignore_errors=True)
            self._spec = None
        write_clients()

    @property
    def running(self) -> bool:
        """Whether every service runs."""
        return self.exists and all(self.processes.pid(name) for name in self.service_names())

    # --- single services ---------------------------------------------------------------------------------------

    def service_names(self) -> list[str]:
        """All that `status` shows: mariadb, rabbit, keystone, cinder-volume, compute-HOST ..."""
        more = [f"libvirt-{host}" for host in self.spec.host_names] if self.spec.virt == "libvirt" else []
        more += ["tgt"] if specs.ISCSI in self.spec.backends else []
        return ["mariadb", "rabbit", *more, *self._order(), "network"]

    def stop(self, *names: str) -> None:
        self.processes.stop(names)

    def start(self, *names: str) -> None:
        """Start services again; those with an API answer when this returns."""
        installation = installed(self.spec.release)
        for name in names:
            self.processes.start(name, self._command(name, installation), self._environment(installation))
        self._wait_for_apis(names)

    def restart(self, *names: str) -> None:
        self.stop(*names)
        self.start(*names)

    @contextmanager
    def tokens_live_for(self, seconds: int) -> Iterator[None]:
        """New tokens expire so soon, while this lasts."""
        before = self.spec
        self._with_tokens(dataclasses.replace(before, token_seconds=seconds))
        try:
            yield
        finally:
            self._with_tokens(before)

    @contextmanager
    def keystone_beside(self, seconds: int, port: int, folder: Path) -> Iterator[str]:
        """A second Keystone over the same data, whose tokens live for so many seconds; gives its address. The cloud's
        own stays as it is, so that nobody else feels it. ``folder``: for its files."""
        installation = installed(self.spec.release)
        spec = dataclasses.replace(self.spec, token_seconds=seconds)
        (folder / "keystone.conf").write_text(settings.files(spec, self.home)["keystone.conf"])
        environment = {**self._environment(installation), "OS_KEYSTONE_CONFIG_DIR": str(folder)}
        kind, target = RELEASES[self.spec.release].services["keystone"]
        beside = Processes(folder, folder, folder)
        beside.start(
            "keystone", [str(installation.python), str(HERE / "serve.py"), kind, str(port), target], environment
        )
        try:
            if not wait_until(lambda: answers(port), _PATIENCE, lambda: bool(beside.pid("keystone"))):
                raise LabError(f"a second Keystone does not answer: {(folder / 'keystone.log').read_text()[-2000:]}")
            yield f"http://127.0.0.1:{port}/v3"
        finally:
            beside.stop(["keystone"])

    def _with_tokens(self, spec: CloudSpec) -> None:
        path = self.home.etc / "keystone.conf"
        path.write_text(settings.files(spec, self.home)[path.name])
        self.restart("keystone")

    def memory(self) -> dict[str, int | None]:
        """MiB by service; None when it does not run."""
        processes = self.processes
        return {name: processes.memory(name) if processes.pid(name) else None for name in self.service_names()}

    # --- steps -------------------------------------------------------------------------------------------------

    def _up(self, installation: Installation) -> None:
        begin = time.monotonic()

        def step(what: str) -> None:
            print(f"{self.name:10} {time.monotonic() - begin:6.1f} s  {what}", flush=True)

        if self.running and identity.every_agent_reports(self.spec):
            step("runs already")
            return
        self._configure(installation)
        environment = self._environment(installation)
        made = self.home.path / "made"  # tables and the contents of Keystone are complete
        first = not made.exists()
        servers.start_broker(self.spec, self.home, self.processes, environment)
        if first:
            self._make_database(installation, environment)
            step("tables made")
        servers.start_database(self.spec, self.home, self.processes, environment)
        if first:
            self._bootstrap(installation)
        if self.spec.virt == "libvirt":
            servers.start_libvirt(self.spec, self.home, self.processes, environment)
        if specs.ISCSI in self.spec.backends:
            servers.start_target(self.spec, self.home, self.processes, environment)
        if not wait_until(lambda: listens(self.spec.port("rabbit")), _PATIENCE, lambda: self._alive(["rabbit"])):
            raise LabError(f"no RabbitMQ: see {self.home.log}/rabbit.log")
        self.start("keystone")
        if first:
            identity.Register(self.spec).fill()
            made.touch()
            step("users and catalog made")
        names = [*self._order(), "network"]
        for name in names:
            self.processes.start(name, self._command(name, installation), environment)
        self._wait_for_apis(names)
        step("every API answers")
        if not wait_until(lambda: identity.every_agent_reports(self.spec), _PATIENCE, lambda: self._alive(names)):
            dead = [name for name in names if not self.processes.pid(name)]
            raise LabError(f"services do not report: see {self.home.log}; ended: {dead}")
        step("every service reports")
        write_clients()

    def _down(self) -> None:
        if self._spec is None:
            return
        last = ("rabbit", "epmd", "mariadb", "tgt", *(f"libvirt-{host}" for host in self.spec.host_names))
        self.processes.stop([name for name in self.processes.names() if name not in last])
        if self.spec.virt == "libvirt":
            servers.stop_libvirt(self.spec, self.home, self.processes)
        self.processes.stop(["rabbit", "epmd", "mariadb"])
        self.processes.stop(["tgt"], signal.SIGKILL)  # it does not end by itself while it has targets
        for bridge in (self.home.network / "bridges").glob("*"):
            _quiet("ip", "link", "del", bridge.name)
            bridge.unlink()
        for port in (self.home.network / "ports").glob("*"):
            _quiet("ip", "link", "del", f"tap{port.name[:11]}")
        for line in Path("/proc/mounts").read_text().splitlines():
            target = line.split()[1]
            if target.startswith(f"{self.home.path}/"):
                _quiet("umount", target)

    def _configure(self, installation: Installation) -> None:
        for name, text in settings.files(self.spec, self.home).items():
            (self.home.etc / name).write_text(text)
        for project, path in RELEASES[self.spec.release].paste.items():
            shutil.copy(installation.share / path, self.home.etc / f"{project}-paste.ini")
        filters = (
            installation.share / "cinder/resource_filters.json",
            installation.share.parents[1] / "etc/cinder/resource_filters.json",
        )
        shutil.copy(next(path for path in filters if path.exists()), self.home.etc / "cinder-resource_filters.json")
        for folder in settings.folders(self.spec):
            (self.home.var / folder).mkdir(parents=True, exist_ok=True)

    def _make_database(self, installation: Installation, environment: dict[str, str]) -> None:
        self.processes.stop(["keystone", "mariadb"])
        servers.fill_database(
            self.spec,
            self.home,
            installation.key,
            start=lambda: servers.start_database(self.spec, self.home, self.processes, environment),
            stop=lambda: self.processes.stop(["mariadb"]),
            manage=lambda service, program, words: self._manage(installation, service, program, words),
        )

    def _bootstrap(self, installation: Installation) -> None:
        identity.make_keys(self.home.var)
        url = self.spec.url("keystone", "/v3")
        words = ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION]
        for interface in ("admin", "internal", "public"):
            words += [f"--bootstrap-{interface}-url", url]
        self._manage(installation, "keystone", MANAGE["keystone"][0], words)

    def _manage(self, installation: Installation, service: str, program: str, words: Iterable[str]) -> None:
        module = program.split(".")[0]
        head = [str(installation.python), str(HERE / "serve.py"), "main", f"{module}-manage", program]
        log = self.home.log / f"manage-{service}.log"
        with log.open("ab") as out:
            code = subprocess.call(
                [*head, "--config-file", str(self.home.etc / f"{module}.conf"), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment(installation),
                cwd=self.home.path,
            )
        if code:
            raise LabError(f"{service}-manage {' '.join(words)} failed: see {log}")

    # --- commands ----------------------------------------------------------------------------------------------

    def _order(self) -> list[str]:
        hosts = [f"compute-{host}" for host in self.spec.host_names]
        return [name for name in ORDER if name != "nova-compute"] + hosts

    def _command(self, name: str, installation: Installation) -> list[str]:
        if name == "network":
            return ["/usr/bin/python3", "-u", str(HERE / "wires.py"), str(self.home.network)]
        service = "nova-compute" if name.startswith("compute-") else name
        kind, target = RELEASES[self.spec.release].services[service]
        label = str(self.spec.port(name)) if kind == "wsgi" else service
        if target.startswith("paste:"):
            target = f"paste:{self.home.etc}/{target.removeprefix('paste:')}"
        command = [str(installation.python), str(HERE / "serve.py"), kind, label, target]
        project = name.split("-")[0]
        conf = f"{name}.conf" if service == "nova-compute" else f"{project}.conf"
        if kind == "main" or project == "cinder":  # other applications look into OS_..._CONFIG_DIR
            command += ["--config-file", str(self.home.etc / conf)]
        if service == "nova-compute" and self.spec.virt == "libvirt":  # in the namespaces of its libvirtd
            libvirt = self.processes.pid(name.replace("compute-", "libvirt-", 1))
            command = ["nsenter", "-m", "-u", "-t", str(libvirt), "--", *command]
        return command

    def _environment(self, installation: Installation) -> dict[str, str]:
        """Without the settings of the caller, who may forbid byte code: each start would compile again."""
        return {
            "HOME": str(self.home.etc),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(HERE / "plugins"),
            "PATH": f"{HERE / 'bin'}:{installation.python.parent}:{_PATH}",
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
            "OS_NOVA_CONFIG_FILES": "nova-paste.ini;nova.conf",
            "no_proxy": "*",
            "LAB_LOG": str(self.home.log),
            "TGT_IPC_SOCKET": str(self.home.run / "tgt"),
            **{
                f"OS_{name}_CONFIG_DIR": str(self.home.etc)
                for name in ("KEYSTONE", "GLANCE", "PLACEMENT", "NOVA", "NEUTRON", "CINDER")
            },
        }

    # --- waiting -----------------------------------------------------------------------------------------------

    def _alive(self, names: Iterable[str]) -> bool:
        return all(self.processes.pid(name) for name in names)

    def _wait_for_apis(self, names: Iterable[str]) -> None:
        for name in names:
            if name in settings.CATALOG or name == "keystone":
                port = self.spec.port(name)
                if not wait_until(lambda: answers(port), _PATIENCE, lambda: self._alive([name])):  # noqa: B023
                    raise LabError(f"{name} does not answer: see {self.home.log}/{name}.log")


def _quiet(*command: str) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write_clients() -> None:
    """``<lab>/clouds.yaml`` with every cloud, as its admin and, with ``-member``, as a plain member of a project."""
    clouds = {}
    for options in sorted((places.LAB / "clouds").glob("*/options.json")):
        spec = specs.read(options)
        if spec is None:
            continue
        for name, user, project in (
            (spec.name, "admin", "admin"),
            (f"{spec.name}-member", identity.MEMBER_USER, identity.MEMBER_PROJECT),
        ):
            clouds[name] = {
                "auth": {
                    "auth_url": spec.url("keystone", "/v3"),
                    "username": user,
                    "password": PASSWORD,
                    "project_name": project,
                    "user_domain_name": "Default",
                    "project_domain_name": "Default",
                },
                "region_name": REGION,
                "identity_api_version": 3,
            }
    path = places.LAB / "clouds.yaml"
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({"clouds": clouds}, indent=1) + "\n")  # JSON is YAML
    part.rename(path)
