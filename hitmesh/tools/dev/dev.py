"""`hitmesh dev`: runs the whole mesh on this machine as child processes, and announces the healthy mesh.

The Envoy template, protos and services are the same as in a production mesh; only addresses and stores differ. Storage
servers that are down are started, and keep running after the mesh has ended.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO

from hitmesh.model.errors import HitmeshError
from hitmesh.tools.dev import backend, children, instances, tcp_ports
from hitmesh.tools.dev.backend import Backend, Choice, OtherBackend
from hitmesh.tools.dev.banner import banner
from hitmesh.tools.dev.conditions import FILE, Conditions
from hitmesh.tools.dev.dev_options import DevOptions
from hitmesh.tools.dev.envoy import Address, Door, binary, open_paths, render
from hitmesh.tools.dev.envoy_tokens import WatchedKeys
from hitmesh.tools.dev.forking import ForkServer, ForkServerEnded
from hitmesh.tools.dev.given_settings import Given, write_given
from hitmesh.tools.dev.health import (
    Silence,
    causes_of,
    instance_checks,
    only_recover,
    silent_instances,
    unhealthy_clusters,
)
from hitmesh.tools.dev.home import Home, remove_files, write_ready_file
from hitmesh.tools.dev.instances import PROCESSOR, SERVICES, Instance
from hitmesh.tools.dev.mesh_tls import MeshTls
from hitmesh.tools.dev.processor_settings import setting_named_in
from hitmesh.tools.stack.errors import StackError

READY_TIMEOUT_S = 60.0
LOOK_EVERY_S = 1.0
DEFAULT_PORT = 8080
EXIT_OK, EXIT_BUG, EXIT_CONFIG, EXIT_CANNOT_START = 0, 1, 3, 4
PORT_TAKEN = "Address already in use"  # text in Envoy's output if Envoy cannot bind the port
CLUSTERS = frozenset(SERVICES)
READING = ("processor", "reporter", "control")  # services with RPCs that read data
ENVOY = "envoy"

Say = Callable[[str], None]


class CannotStart(Exception):
    """The mesh cannot start; the message is for users and ends with a remedy."""


class Stopped(Exception):
    """A signal requested shutdown."""


def run_dev(home: Home, lock: IO[str], options: DevOptions, say: Say, warn: Say) -> int:
    """Run the mesh until a signal or the death of a child; return the exit code.

    The exit code is 0 after a signal, 1 if a child died, 3 for a wrong setting, and 4 if the mesh cannot start. At the
    end, the home directory's lock is released.
    """
    # The home directory's ready file is always written, even with --ready-file, because commands with --home read the
    # home directory's ready file.
    ready_files = {home.ready_file, (options.ready_file or home.ready_file).expanduser().resolve()}
    remove_files(ready_files)
    try:
        choice = backend.choose(home, options.backend, options.stack_home, options.default_stack_home)
        if options.replicas > 1 and choice.backend is Backend.EMBEDDED:
            raise OtherBackend(
                f"--replicas needs --backend stack, but {home.root} uses files, which have one writer: "
                f"add --backend stack and another --home"
            )
        home = backend.opened(home, choice, say)
    except (OtherBackend, StackError) as error:
        warn(str(error))
        lock.close()
        return EXIT_CANNOT_START
    mesh = Mesh(home, choice, options, say, warn)
    _on_signals(mesh)
    try:
        mesh.start()
        for ready_file in ready_files:
            _announce(ready_file, mesh.door, mesh.metrics_urls(), backend.server_pids(choice))
        say(mesh.banner())
        return mesh.watch()
    except (CannotStart, ForkServerEnded, HitmeshError) as error:  # HitmeshError: the keys of tokens are not usable
        warn(str(error))
        wrong = setting_named_in(str(error), options.processor_settings)
        if wrong is None:
            return EXIT_CANNOT_START
        warn(f"this value comes from an option of this command: correct --processor-setting {wrong.lower()}=…")
        return EXIT_CONFIG
    except Stopped:
        return EXIT_OK
    finally:
        remove_files(ready_files)
        mesh.stop()
        lock.close()


def _announce(ready_file: Path, door: Door, metrics: Mapping[str, str], servers: Mapping[str, int]) -> None:
    try:
        write_ready_file(ready_file, door.http, metrics, servers, operators=door.operators)
    except OSError as error:
        raise CannotStart(f"{ready_file} cannot be written ({error.strerror}): give another --ready-file") from error


def _on_signals(mesh: Mesh) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        if mesh.stopping:  # a second Ctrl-C ends this process at once, and its children end too
            os._exit(EXIT_BUG)
        mesh.stopping = True
        raise Stopped

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


class Mesh:
    """Envoy and the services of a home directory."""

    def __init__(self, home: Home, choice: Choice, options: DevOptions, say: Say, warn: Say) -> None:
        self._home = home
        self._choice = choice
        self._options = options
        self._say = say
        self._warn = warn
        self._children: list[children.Child] = []
        self._forks: ForkServer
        self._given: dict[str, Given] = {}
        self._tls = MeshTls(home.certs if options.tls else None, home.run)
        self.door, self._instances = self._addresses()
        self._keys = WatchedKeys(options.tokens, open_paths()) if options.tokens else None
        self._silence = Silence(options.hang_after_s)
        self._hung: set[str] = set()
        self._has_warned_of_recovery = False
        self._conditions = Conditions(home.run / FILE, warn, causes_of)
        self.stopping = False

    def start(self) -> None:
        """Start all processes and return once all are healthy and the demo data is loaded.

        Raises:
            CannotStart: a port is taken, a child died, or the mesh did not become healthy in time.
        """
        if self._options.port is not None and not tcp_ports.is_free(self._options.port):
            raise CannotStart(tcp_ports.taken(self._options.port))
        self._start_fork_server()
        self._prepare_servers()
        self._warn(f"starting {', '.join(instance.name for instance in self._instances)} and Envoy …")
        for instance in self._instances:
            self._start_instance(instance)
        self._start_envoy()
        if not self._home.has_keys:
            self._run(instances.BOOTSTRAP, str(self._home.root), self._home.store_url)
        self._wait_until_healthy()
        if self._options.demo_data:
            if not self._home.demo_is_loaded():
                self._warn(
                    "loading thirty days of a generated shop into demo/example, which takes up to a minute "
                    "(--no-demo-data skips this) …"
                )
            self._run("hitmesh.tools.dev.demo", str(self._home.root), str(self.door.http))

    def watch(self) -> int:
        """Wait until a child dies.

        When a child has died, report the child's name, its last lines and a remedy, and return 1.

        If each service has several replicas, a service that died is restarted, as an orchestrator would do, and the
        wait continues. A service that hangs (answers no health check) is killed and restarted. If Envoy dies or hangs,
        the mesh ends.

        Raises:
            CannotStart: the storage servers use new ports, and cannot be reached on the new ports.
        """
        while True:
            dead = children.wait_any(self._children, LOOK_EVERY_S)
            if dead is None:
                self._conditions.look(self._instances, instance_checks(self.door.stats))
                self._kill_hanging(time.monotonic())
                self.follow_servers()
                self._refresh_keys()
                self._tls.refresh(time.monotonic(), self._warn)
                continue
            replica = next((instance for instance in self._instances if instance.name == dead.name), None)
            if replica is None or (self._options.replicas == 1 and dead.name not in self._hung):
                self._warn(dead.obituary())
                return EXIT_BUG
            self._warn(f"{dead.name} exited with {dead.process.returncode} ({dead.log}): restarting")
            self._hung.discard(dead.name)
            self._children.remove(dead)
            self._start_instance(replica)
            self._silence.spare(dead.name, time.monotonic() + READY_TIMEOUT_S)

    def follow_servers(self) -> None:
        """Restart the services if the storage servers have new ports.

        Raises:
            CannotStart: a server does not start, or the schema cannot be created on the servers.
        """
        try:
            if not backend.have_moved(self._home, self._choice):
                return
            self._warn("the servers have moved to other ports: restarting the services")
            self._home = backend.opened(self._home, self._choice, self._say)
        except StackError as error:
            raise CannotStart(str(error)) from error
        self._prepare_servers()
        services = {instance.name for instance in self._instances}
        children.stop([child for child in self._children if child.name in services])
        self._children = [child for child in self._children if child.name not in services]
        for instance in self._instances:
            self._start_instance(instance)
            self._silence.spare(instance.name, time.monotonic() + READY_TIMEOUT_S)

    def _refresh_keys(self) -> None:
        """Give Envoy the keys of tokens if their file has changed. The services notice the change themselves."""
        try:
            if self._keys is not None and self._keys.refresh():
                self._say("Envoy has the changed keys of tokens")
        except HitmeshError as error:
            self._warn(f"Envoy keeps the keys of tokens: {error.message}")

    def _prepare_servers(self) -> None:
        if self._home.servers:
            self._warn("creating or checking topics, tables and data sources …")
            self._run("hitmesh.tools.dev.schema", str(self._home.root), self._home.store_url, shown=True)

    def _kill_hanging(self, now_s: float) -> None:
        """Report and kill each process that has answered no health check for too long.

        `watch` notices that a killed process has ended. If the process is a service, `watch` restarts the service.
        """
        found = silent_instances(self.door.stats)
        names = (
            [ENVOY] if found is None else [instance.name for instance in self._instances if instance.address in found]
        )
        for name in self._silence.hanging(names, now_s):
            self._warn(f"{name} has answered no health check for {self._options.hang_after_s:g} s: killing the process")
            self._hung.add(name)
            for child in self._children:
                if child.name == name:
                    child.process.kill()
                    child.process.wait()

    def stop(self) -> None:
        """Stop the services in the order in which a hit passes them, so that requests in flight can finish.

        Envoy stops last.
        """
        self.stopping = True
        children.stop(self._children)

    def metrics_urls(self) -> Mapping[str, str]:
        """Return the metrics URL of each process, keyed by process name."""
        urls = {instance.name: f"http://{instance.metrics}/metrics" for instance in self._instances}
        return {**urls, "envoy": f"http://{self.door.stats}/stats/prometheus"}

    def banner(self) -> str:
        """Return the text that announces the mesh."""
        return banner(
            self._home,
            self._choice,
            self.door,
            self._instances,
            is_default_home=self._home.is_default(os.environ),
            closed_reads=self._options.closed_reads,
            demo_data=self._options.demo_data,
        )

    def _addresses(self) -> tuple[Door, list[Instance]]:
        port = self._options.port
        if port is None:
            port = tcp_ports.next_free(DEFAULT_PORT) or tcp_ports.any_free(1)[0]
            if port != DEFAULT_PORT:
                self._warn(f"port {DEFAULT_PORT} is taken: using {port}")
        replicas = self._options.replicas
        wanted = 3 + instances.count(replicas)  # request an additional port, because `port` may be among the free ports
        free = iter(
            [Address(tcp_ports.HOST, free_port) for free_port in tcp_ports.any_free(wanted) if free_port != port]
        )
        operators, stats = next(free), next(free)
        planned = instances.planned(free, replicas, self._options.processor_settings)
        log = self._home.logs / "access.jsonl"
        collectors, processors, reporters, controls = (instances.addresses(planned, service) for service in SERVICES)
        public = Address(tcp_ports.HOST, port)
        fleet = (collectors, reporters, processors, controls)
        tokens, tls, traced = self._options.tokens, self._tls.door, self._options.traced
        return Door(public, operators, stats, *fleet, log, tokens=tokens, tls=tls, traced=traced), planned

    def _start_instance(self, instance: Instance) -> None:
        variables = self._variables(instance)
        self._fork(instance.name, instance.service, instances.environment(variables, os.environ))
        given = self._options.processor_settings if instance.service == PROCESSOR else {}
        options = [f"HITMESH_{instance.service.upper()}_{name}" for name in given]
        self._given[instance.name] = Given(instance.name, instance.service, variables, options)
        write_given(self._home.run, self._given.values())

    def _variables(self, instance: Instance) -> Mapping[str, str]:
        """Return the settings of a process as environment variables."""
        settings = {"STORE": self._home.store_url, "LISTEN": str(instance.address), "NODE": instance.node}
        if self._options.traced:
            settings |= self._options.traced.settings()
        settings |= {
            "METRICS_LISTEN": str(instance.metrics),
            **backend.settings(self._choice, instance.service, instance.name, self._home.run),
            **self._tls.settings(instance.service),
            **instance.settings,
        }
        if instance.service in READING and not self._options.closed_reads:
            settings["OPEN_READS"] = "true"  # Reports need no key, because the mesh listens on loopback only.
        if instance.service in READING and self._options.tokens:
            settings |= self._options.tokens.settings()
        return {f"HITMESH_{instance.service.upper()}_{key}": value for key, value in settings.items()}

    def _start_envoy(self) -> None:
        if self._keys is not None:
            self._keys.refresh()
        config = self._home.run / "envoy.yaml"
        config.write_text(render(self.door), encoding="utf-8")
        command = [str(binary()), "-c", str(config), "--log-level", "warning", "--concurrency", "1"]
        # Envoy writes the access log once a second. The default is once in 10 s.
        command += ["--disable-hot-restart", "--file-flush-interval-msec", "1000"]
        self._children.append(
            children.start(ENVOY, command, os.environ, self._home.logs / f"{ENVOY}.log", self._home.run)
        )

    def _try_next_port(self, dead: children.Child) -> bool:
        """Return whether Envoy was restarted.

        If Envoy ended because its default port is taken, Envoy is started on the next port.
        """
        if dead.name != ENVOY or PORT_TAKEN not in "".join(dead.last_lines()) or self._options.port is not None:
            return False
        self._next_port(dead)
        return True

    def _is_door_open(self) -> bool:
        """Return whether Envoy listens at both doors.

        If another program listens on Envoy's port, Envoy is started on the next port.

        Envoy binds the port at its start, and listens as soon as the services answer. Envoy keeps running even if it
        cannot listen.
        """
        envoy, port = next(child for child in self._children if child.name == ENVOY), self.door.http.port
        doors = port, self.door.operators.port
        if all(tcp_ports.listens(envoy.process.pid, each) for each in doors):
            return True
        # Envoy may have begun to listen after the first check
        if tcp_ports.is_free(port) or tcp_ports.listens(envoy.process.pid, port):
            return False
        if self._options.port is not None:
            raise CannotStart(tcp_ports.taken(port))
        children.stop([envoy])
        self._next_port(envoy)
        return False

    def _next_port(self, dead: children.Child) -> None:
        taken = self.door.http.port
        port = tcp_ports.next_free(taken + 1) or tcp_ports.any_free(1)[0]
        self._warn(f"port {taken} is taken: using {port}")
        self.door = replace(self.door, http=Address(tcp_ports.HOST, port))
        self._children.remove(dead)
        self._start_envoy()

    def _start_fork_server(self) -> None:
        modules = instances.modules(on_servers=bool(self._home.servers))
        self._forks = ForkServer(modules, instances.environment({}, os.environ), self._home.logs)
        self._children.append(self._forks.child)

    def _fork(self, name: str, service: str, environment: Mapping[str, str]) -> None:
        log = self._home.logs / f"{name}.log"
        self._children.append(self._forks.start(name, f"{service}.__main__", environment, log))

    def _run(self, module: str, *arguments: str, shown: bool = False) -> None:
        if code := self._forks.run(module, arguments, shown=shown):
            raise CannotStart(f"`python -m {module}` exited with code {code}: see the message above")

    def _recovers(self) -> bool:
        """Return whether only a recovery makes processes not ready. A recovery may take minutes after a crash."""
        causes = {instance.name: causes_of(instance.metrics) for instance in self._instances}
        recovers = only_recover(causes.values())
        if recovers and not self._has_warned_of_recovery:
            self._has_warned_of_recovery = True
            ill = "; ".join(f"{name}: {cause.text}" for name, cause in causes.items() if cause.text)
            self._warn(f"waiting, because a recovery may take minutes: {ill} …")
        return recovers

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        missing = CLUSTERS
        while missing or not self._is_door_open():
            dead = children.wait_any(self._children, 0.1)
            if dead is not None and not self._try_next_port(dead):
                raise CannotStart(dead.obituary())
            if time.monotonic() > deadline and not self._recovers():
                raise CannotStart(
                    f"{', '.join(sorted(missing or {ENVOY}))} did not become healthy within {READY_TIMEOUT_S:.0f} s: "
                    f"see the logs in {self._home.logs}"
                )
            missing = unhealthy_clusters(self.door.stats, CLUSTERS)
