"""A real mesh under test, which tests use only through Envoy and the command line.

`hitmesh dev` runs as a separate process.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from hitmesh.adapters.servers import Servers
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc
from hitmesh.api.control.v1 import admin_pb2_grpc
from hitmesh.api.reporter.v1 import export_pb2_grpc, reporter_pb2, reporter_pb2_grpc
from tests.support import processes, servers
from tests.support.patience import patient
from tests.support.removal import remove_mesh
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
READY_S = 90.0
STOP_S = 20.0
VISIBLE_S = 60.0
LOG_LINES, LOG_COLUMNS = 12, 800


def hitmesh_command() -> list[str]:
    """Return the first arguments of a hitmesh command line: the installed script, or Python with the module."""
    script = Path(sys.executable).parent / "hitmesh"
    return [str(script)] if script.exists() else [sys.executable, "-m", "hitmesh.tools.cli"]


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment without settings for other hitmesh installations on this machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HITMESH_")}
    # Output has no colours, because tests compare it.
    return {**inherited, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", **more}


@dataclass(frozen=True)
class Finished:
    """The exit code and the output of a command that has ended."""

    code: int
    out: str
    err: str


def run_command(arguments: Sequence[str], timeout_s: float = 120.0, **variables: str) -> Finished:
    """Run `hitmesh ARGUMENTS` and wait until the command ends."""
    done = subprocess.run(
        [*hitmesh_command(), *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=patient(timeout_s),
        check=False,
    )
    # With text=True, \r\n inside values would become \n.
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


@dataclass
class Mesh:
    """A mesh with a home directory. A mesh may be started and stopped several times on the same home."""

    home: Path
    options: tuple[str, ...] = ("--no-demo-data",)
    backend: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    address: str = ""
    operators_address: str = ""
    _channels: list[grpc.Channel] = field(default_factory=list)

    @property
    def ready_file(self) -> Path:
        """The file in which the running mesh publishes its addresses."""
        return self.home / "ready.json"

    @property
    def output(self) -> Path:
        """The file with the output of `hitmesh dev` itself, including standard error."""
        return self.home.with_name(f"{self.home.name}.out")

    @property
    def key(self) -> str:
        """The server key of the merchant demo."""
        return (self.home / "keys" / "dev-server").read_text().strip()

    @property
    def operator_key(self) -> str:
        """Key of the mesh's operator."""
        return (self.home / "keys" / "dev-operator").read_text().strip()

    @property
    def pid(self) -> int:
        """Process id of `hitmesh dev`."""
        assert self.process is not None
        return self.process.pid

    def launch(self) -> None:
        """Start `hitmesh dev` and return at once."""
        command = [*hitmesh_command(), "dev", "--home", str(self.home), *self.backend, *self.options]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # a signal to the mesh's process group must not reach the tests
            )

    def start(self) -> None:
        """Start the mesh and block until it is ready."""
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Block until the mesh that `launch` started is ready."""
        eventually(self._is_ready, "hitmesh dev is ready", READY_S)
        ready = json.loads(self.ready_file.read_text())
        self.url, self.address, self.operators_address = ready["http"], ready["grpc"], ready["operators"]

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"hitmesh dev ended with {self.process.returncode}\n{self.logs()}"
        # After a kill, the old ready file remains until the next start removes it.
        return self.ready_file.exists() and json.loads(self.ready_file.read_text())["pid"] == self.pid

    def stop(self) -> int:
        """Stop the mesh and return its exit code."""
        self.close_channels()
        self.ask_to_stop()
        return self.wait_stopped()

    def ask_to_stop(self) -> None:
        """Send SIGTERM, but only once, because a second SIGTERM kills the whole mesh at once."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> int:
        """Block until a mesh that was asked to stop has ended, and return its exit code."""
        assert self.process is not None
        return self.process.wait(patient(STOP_S))

    def kill_everything(self) -> None:
        """Kill every process of the mesh with SIGKILL, as in a power cut."""
        assert self.process is not None
        pids = [self.pid, *self.children()]
        processes.kill_at_once(pids)
        self.process.wait(patient(STOP_S))
        self.wait_gone(pids)
        self.close_channels()

    @property
    def on_servers(self) -> Servers | None:
        """The servers' addresses and the name of the mesh there, or None if the mesh stores its data in files."""
        note = self.home / "data" / "backend.json"
        noted = json.loads(note.read_text()) if note.exists() else {}
        return replace(servers.running(), name=noted["mesh"]) if noted.get("backend") == "stack" else None

    @property
    def store_url(self) -> str:
        """The store URL that the mesh's services use."""
        return self.on_servers.url if self.on_servers else f"embedded:{self.home / 'data'}"

    @property
    def served_by(self) -> set[str]:
        """The stores that an answer of this mesh may name."""
        return {"STORE_CASSANDRA", "STORE_DRUID"} if self.on_servers else {"STORE_EMBEDDED"}

    def drop_from_servers(self) -> None:
        """Remove the mesh's data from real servers, because each mesh occupies some of Druid's few task slots."""
        if self.on_servers is not None:
            remove_mesh(self.on_servers)

    def children(self) -> list[int]:
        """Return the pids of all processes below `hitmesh dev`."""
        return processes.descendants(self.pid)

    def wait_gone(self, pids: Sequence[int], timeout_s: float = 5.0) -> None:
        """Block until all given processes have ended."""
        eventually(
            lambda: not any(map(processes.is_alive, pids)), f"{len(pids)} processes of the mesh are gone", timeout_s
        )

    def logs(self) -> str:
        """Return the last lines of all log files, for the message of a failed test."""
        files = [self.output, *sorted((self.home / "logs").glob("*.log"))]
        parts = []
        for file in files:
            lines = file.read_text(errors="replace").splitlines() if file.exists() else []
            shown = map(_shortened, lines[-LOG_LINES:])
            parts.append("\n".join([f"--- {file.name}", *shown]))
        return "\n".join(parts)

    def run(self, *arguments: str, timeout_s: float = 120.0) -> Finished:
        """Run a command on this mesh and wait until it ends, with any exit code."""
        return run_command([*arguments, "--home", str(self.home)], timeout_s)

    def cli(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run a command on this mesh that must succeed, and return its standard output."""
        done = self.run(*arguments, timeout_s=timeout_s)
        assert done.code == 0, f"hitmesh {' '.join(arguments)} ended with {done.code}: {done.err}"
        return done.out

    def channel(self, *, for_operators: bool = False) -> grpc.Channel:
        """Return a new connection to Envoy's public listener, or to the listener for operators; `stop` closes it."""
        # Without a local pool, channels to the same address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.insecure_channel(self.operators_address if for_operators else self.address, options=options)
        self._channels.append(channel)
        return channel

    def close_channels(self) -> None:
        """Close every open connection."""
        while self._channels:
            self._channels.pop().close()

    def collector(self) -> collector_pb2_grpc.CollectorServiceStub:
        """Return a stub on a new channel."""
        return collector_pb2_grpc.CollectorServiceStub(self.channel())

    def reporter(self) -> reporter_pb2_grpc.ReporterServiceStub:
        """Return a stub on a new channel."""
        return reporter_pb2_grpc.ReporterServiceStub(self.channel())

    def exporter(self) -> export_pb2_grpc.ExportServiceStub:
        """Return a stub on a new channel."""
        return export_pb2_grpc.ExportServiceStub(self.channel())

    def admin(self) -> admin_pb2_grpc.AdminServiceStub:
        """Return a stub on a new channel."""
        return admin_pb2_grpc.AdminServiceStub(self.channel())

    def wait_visible(
        self,
        site: str,
        receipts: Sequence[collector_pb2.Receipt],
        timeout_s: float = VISIBLE_S,
        key: str | None = None,
    ) -> None:
        """Block until the site's reports contain every record in the given receipts, and the site has no dirty day."""
        reporter, metadata = self.reporter(), (("authorization", f"Bearer {key}"),) if key else ()
        request = reporter_pb2.GetFreshnessRequest(site=site)
        wanted: dict[tuple[str, int], int] = {}
        for receipt in receipts:
            place = (receipt.log, receipt.partition)
            wanted[place] = max(wanted.get(place, 0), receipt.offset + 1)

        def is_visible() -> bool:
            fresh = reporter.GetFreshness(request, timeout=60, metadata=metadata)
            reached = {(progress.log, progress.partition): progress.next_offset for progress in fresh.partitions}
            return fresh.dirty_days == 0 and all(reached.get(place, 0) >= end for place, end in wanted.items())

        def reached() -> object:
            fresh = reporter.GetFreshness(request, timeout=60, metadata=metadata)
            return sum(progress.next_offset for progress in fresh.partitions), fresh.dirty_days

        eventually(is_visible, f"{site} shows {len(receipts)} records", timeout_s, moving=reached)

    def stats_address(self) -> str:
        """Return host:port of the listener on which Envoy serves its statistics."""
        where: str = json.loads(self.ready_file.read_text())["metrics"]["envoy"]
        return where.removeprefix("http://").partition("/")[0]

    def envoy_stat(self, name: str) -> int:
        """Return the value of a counter or gauge in Envoy's statistics, or 0 if Envoy has no such value."""
        _, body = get(self.stats_address(), "/stats")
        found = re.search(rf"^{re.escape(name)}: (\d+)$", body.decode(), re.MULTILINE)
        return int(found[1]) if found else 0

    def acknowledged_hits(self) -> int:
        """Return the number of hits that were acknowledged to clients through Envoy."""
        return self.envoy_stat("hitmesh.acknowledged_hits")

    def wait_acknowledged(self, expected: int) -> None:
        """Block until Envoy has counted `expected` hits. Envoy counts the hits of a call when the call ends."""
        eventually(
            lambda: self.acknowledged_hits() >= expected,
            f"Envoy counts {expected} acknowledged hits (now {self.acknowledged_hits()})",
        )
        assert self.acknowledged_hits() == expected


def _shortened(line: str) -> str:
    """Remove the middle of a long line, but keep the event at the beginning and the cause at the end."""
    return line if len(line) <= LOG_COLUMNS else f"{line[: LOG_COLUMNS // 3]} ... {line[-LOG_COLUMNS * 2 // 3 :]}"


def get(address: str, path: str) -> tuple[int, bytes]:
    """Send a GET request, and return the status and the body of the answer."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def one_json_line(text: str) -> Any:
    """Parse an output, which must be a single line of JSON, and return its value."""
    assert text.endswith("\n")
    assert text.count("\n") == 1, f"more than one line: {text[:500]!r}"
    return json.loads(text)
