"""Start and stop a home directory's servers. The caller must hold the home directory's lock.

A server may need other servers. The launcher starts a server only after all servers that this server needs are healthy.
The launcher restarts a server whose configuration is outdated, and does not touch other servers. If a server does not
become healthy, the launcher stops and reports this server. All other servers keep running, so that a second attempt
takes less time.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from hitmesh.tools.dev.tcp_ports import holder, is_free
from hitmesh.tools.stack import processes, tcp_ports
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.health import passes
from hitmesh.tools.stack.layout import Say, StackHome
from hitmesh.tools.stack.members import SINGLE, Member, role_of
from hitmesh.tools.stack.processes import Note
from hitmesh.tools.stack.server import Server
from hitmesh.tools.stack.servers import all_servers, names_of, stop_waves

HEALTHY_S: Final = 240.0
STOP_S: Final = 45.0
LAST_LINES: Final = 20
_SEARCHED_LINES: Final = 500
_FRAMES: Final = ("\tat ", "\t... ")
_POLL_S: Final = 0.2
_LET_GO_S: Final = 10.0
_REPORT_EVERY_S: Final = 15.0
_PREPARE_S: Final = 120.0
_NEEDED_BYTES: Final = 3 << 30
# Limits the number of malloc's memory arenas. Without the limit, malloc would reserve many arenas, because Java has
# many threads.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2"}
# Pairs (text in a log, remedy) for problems that the machine causes.
_CURES: Final = (
    ("Address already in use", "another program took the port: run `hitmesh stack up` again"),
    ("Failed to bind", "another program took the port: run `hitmesh stack up` again"),
    ("insufficient memory", "the machine has too little memory: the servers need about 3 GiB; stop other programs"),
    ("Cannot allocate memory", "the machine has too little memory: the servers need about 3 GiB; stop other programs"),
    ("No space left on device", "the disk is full: make room, then run `hitmesh stack up` again"),
)


@dataclass(slots=True)
class Launcher:
    """Starts and stops a home directory's servers, and reports progress through `say`."""

    home: StackHome
    jars: Path
    java: str
    say: Say
    members: tuple[Member, ...] = SINGLE
    _began_s: float = field(default_factory=time.monotonic)
    _reported_s: float = field(default_factory=time.monotonic)

    def up(self, only: Collection[str] | None = None) -> dict[str, int]:
        """Start the servers in `only`, by default all servers, and return the ports of all servers.

        The function waits until the started servers are healthy.

        Raises:
            StackError: a server does not start, or no port is free.
        """
        chosen = self._ports()
        servers = all_servers(self.home, self.jars, self.java, chosen, self.members)
        self._stop_outdated(servers)
        wanted = [servers[name] for name in names_of(self.members) if only is None or name in only]
        if all(processes.read(self.home.pid(server.name)) and passes(server.is_healthy) for server in wanted):
            self.say("the servers are already running")
        else:
            self._warn_of_memory()
            self._start_in_order(wanted)
        return chosen

    def down(self) -> None:
        """Stop all running servers in order, and wait until their processes have ended."""
        for wave in stop_waves(self.members):
            self._stop(wave)

    def _ports(self) -> dict[str, int]:
        known = tcp_ports.read(self.home.ports_file)
        running = [name for name in names_of(self.members) if processes.read(self.home.pid(name))]
        deadline = time.monotonic() + _LET_GO_S
        chosen = tcp_ports.choose(
            known, running, tcp_ports.first_port(self.home.root), lambda candidate: _is_free(candidate, deadline)
        )
        for name, port in known.items():
            if chosen.get(name) != port:
                pid = holder(port)
                by = f" by process {pid}" if pid else ""
                self.say(f"port {port} of {name} is taken{by}: {name} gets {chosen.get(name)}")
        tcp_ports.write(self.home.ports_file, chosen)
        return chosen

    def _stop_outdated(self, servers: Mapping[str, Server]) -> None:
        for wave in stop_waves(self.members):
            notes = {name: processes.read(self.home.pid(name)) for name in wave}
            outdated = [name for name, noted in notes.items() if noted and noted.digest != servers[name].digest]
            if outdated:
                self.say(f"{', '.join(outdated)}: the configuration has changed, restarting")
                self._stop(outdated)

    def _stop(self, names: Collection[str]) -> None:
        notes = {name: noted for name in names if (noted := processes.read(self.home.pid(name)))}
        hanging = processes.stop(list(notes.values()), STOP_S)
        for name, noted in notes.items():
            self.home.pid(name).unlink(missing_ok=True)
            killed = f"killed: still running after {STOP_S:.0f} s" if noted in hanging else "stopped"
            self.say(f"{name:<12} {killed}")

    def _start_in_order(self, wanted: Collection[Server]) -> None:
        names = {server.name for server in wanted}
        waiting, starting = list(wanted), dict[str, tuple[Server, float]]()
        while waiting or starting:
            for server in [server for server in waiting if not names & set(server.needs)]:
                waiting.remove(server)
                self._start(server)
                starting[server.name] = (server, time.monotonic() + HEALTHY_S)
            for name in [name for name, (server, deadline) in starting.items() if self._has_come_up(server, deadline)]:
                del starting[name]
                names.remove(name)
            self._report_progress(starting)
            if starting:
                time.sleep(_POLL_S)

    def _start(self, server: Server) -> None:
        """Start a server unless its process runs already."""
        if processes.read(self.home.pid(server.name)):
            return
        for folder in server.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for file, text in server.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        log = self.home.log(server.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        self._prepare(server, log)
        pid = processes.spawn(server.command, {**os.environ, **_ENVIRONMENT}, log, self.home.base)
        processes.write(self.home.pid(server.name), processes.note(pid, server.digest))

    def _prepare(self, server: Server, log: Path) -> None:
        if server.prepared is None or server.prepared.exists():
            return
        with log.open("ab") as output:
            done = subprocess.run(
                server.prepare,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_PREPARE_S,
                check=False,
            )
        if done.returncode != 0:
            raise StackError(obituary(server.name, f"could not be prepared (exit code {done.returncode})", self.home))

    def _has_come_up(self, server: Server, deadline: float) -> bool:
        noted: Note | None = processes.read(self.home.pid(server.name))
        if noted is None:
            raise StackError(obituary(server.name, "exited during the start", self.home))
        if passes(server.is_healthy):
            after_s = time.monotonic() - self._began_s
            self.say(f"{server.name:<12} healthy on {server.host}:{server.port} after {after_s:.1f} s")
            return True
        if time.monotonic() > deadline:
            processes.stop([noted], STOP_S)
            raise StackError(
                obituary(server.name, f"was not healthy within {HEALTHY_S:.0f} s and was stopped", self.home)
            )
        return False

    def _report_progress(self, starting: Collection[str]) -> None:
        now_s = time.monotonic()
        if starting and now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            self.say(f"waiting for {', '.join(starting)} ({now_s - self._began_s:.0f} s)")

    def _warn_of_memory(self) -> None:
        free_bytes = psutil.virtual_memory().available
        if free_bytes < _NEEDED_BYTES:
            self.say(f"only {free_bytes >> 20} MiB of memory are free; all servers need about 3,000 MiB")


def obituary(name: str, state: str, home: StackHome) -> str:
    """Return a message that names the server and the failure, quotes the end of the log and proposes a remedy."""
    log = home.log(name)
    # Java prints the cause of an error above the stack frames. The quoted lines leave out stack frames, so that the
    # cause is among the last lines.
    lines = [line for line in last_lines(log, _SEARCHED_LINES) if not line.startswith(_FRAMES)][-LAST_LINES:]
    text = "\n".join(lines)
    cure = next(
        (cure for sign, cure in _CURES if sign in text),
        f"try again; if the stored data is damaged, remove {home.data / _kept_in(name)}; this deletes the data",
    )
    quoted = "\n".join(f"    {line}" for line in lines) or "    (nothing)"
    return f"{name} {state}; the end of its log ({log}):\n{quoted}\n{cure}"


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log; the list is empty if the log does not exist."""
    try:
        with log.open(encoding="utf-8", errors="replace") as lines:
            return list(deque((line.rstrip("\n") for line in lines), maxlen=count))
    except FileNotFoundError:
        return []


def _kept_in(name: str) -> str:
    return name if role_of(name) in ("kafka", "cassandra", "zookeeper") else "druid"


def _is_free(port: int, deadline: float) -> bool:
    """Return whether a port is free.

    After a process was killed, its port may be busy although no process holds the port. The function waits until the
    port is free or `deadline` has passed.
    """
    while not (free := is_free(port)) and holder(port) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return free
