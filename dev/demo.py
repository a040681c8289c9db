"""`make demo`: run a whole mesh from nothing to a report, in steps that can be repeated by hand.

The demo starts `hitmesh dev` with a temporary home, imports a real access log if one is present (else the mesh loads
its generated shop), and prints a report with a plot. Then it sends live traffic, compares the hits with the reports,
prints the ledger and the addresses, and stops. The exit code is 1 if any step fails.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_LOG = Path(__file__).resolve().parents[2] / "shared" / "data" / "access.log"
LIVE = ("--rate", "2000", "--duration", "10", "--sites", "10", "--late", "1", "--duplicates", "1", "--bots", "2")
HITMESH = [sys.executable, "-m", "hitmesh.tools.cli"]
READY_TIMEOUT_S = 120.0
STEP_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


class StepFailed(Exception):
    """A step failed; the text names the step and the cause."""


@dataclass(frozen=True)
class Demo:
    """The subject of the demo: a site, the metrics and days to query, and optionally a log file to import."""

    site: str
    metrics: str
    days: Sequence[str]
    log: Path | None


def main() -> int:
    """Run the demo and return the exit code."""
    began = time.monotonic()
    if ACCESS_LOG.exists():
        demo = Demo(
            "demo/weblog",
            "visits,visitors,pageviews,bounce_rate",
            ("--since", "2015-05-17", "--until", "2015-05-20"),
            ACCESS_LOG,
        )
    else:
        demo = Demo("demo/example", "visits,visitors,orders,gross_revenue", ("--last", "30d"), None)
    try:
        with tempfile.TemporaryDirectory(prefix="hitmesh-demo-") as directory:
            _show(demo, Path(directory))
    except (StepFailed, subprocess.TimeoutExpired) as error:
        _say(f"demo failed: {error}")
        return 1
    _say(f"done in {time.monotonic() - began:.0f} s; to keep a mesh running: .venv/bin/hitmesh dev")
    return 0


def _show(demo: Demo, directory: Path) -> None:
    home = directory / "home"
    _step(1, "start the mesh: Envoy, collector, processor, reporter, control")
    with _mesh(demo, home, directory) as banner:
        if demo.log is not None:
            _step(2, f"import {demo.log.name}, {demo.log.stat().st_size / 1e6:.1f} MB of real traffic")
            _import(demo.log, demo.site, home)
        else:
            _step(2, "the generated shop is loaded: 30 days")
        _step(3, "ask for a report")
        query = ["query", "--site", demo.site, *demo.days, "--tz", "UTC", "--home", str(home)]
        _hitmesh(*query, "--metrics", demo.metrics, "--grain", "day", "--plot", "-o", "table")
        _hitmesh(*query, "--metrics", "visits,visitors", "--grain", "none", "--dimensions", "channel", "-o", "table")
        _step(4, "live traffic: ten seconds of 2,000 hits a second, compared with the reports, and the ledger")
        _hitmesh("load", *LIVE, "--home", str(home), "-o", "table")
        _hitmesh("ledger", "--site", "demo/load-0001", "--home", str(home), "-o", "table")
        _step(5, "where everything was")
        _say(banner)
        _step(6, "stop")


@contextmanager
def _mesh(demo: Demo, home: Path, directory: Path) -> Iterator[str]:
    """Run a mesh; yield the addresses from its banner."""
    ready_file, output = directory / "ready.json", directory / "dev.txt"
    loaded = ["--no-demo-data"] if demo.log is not None else []
    command = [*HITMESH, "dev", "--home", str(home), "--ready-file", str(ready_file), *loaded]
    began = time.monotonic()
    with output.open("wb") as target:
        mesh = subprocess.Popen(command, stdout=target, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(mesh, ready_file, output)
        _say(f"    ready after {time.monotonic() - began:.1f} s: {json.loads(ready_file.read_text())['http']}")
        yield _when_written(output)
        mesh.send_signal(signal.SIGTERM)
        code = mesh.wait(STOP_TIMEOUT_S)
        if code != 0:
            raise StepFailed(f"`hitmesh dev` ended with exit code {code}; its output:\n{output.read_text()}")
        _say("    every process ended")
    finally:
        mesh.kill()  # the mesh's child processes end with the parent
        mesh.wait()


def _wait_until_ready(mesh: subprocess.Popen[bytes], ready_file: Path, output: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready_file.exists():
        if mesh.poll() is not None:
            raise StepFailed(f"`hitmesh dev` ended with exit code {mesh.returncode}; its output:\n{output.read_text()}")
        if time.monotonic() > deadline:
            raise StepFailed(
                f"`hitmesh dev` was not ready within {READY_TIMEOUT_S:.0f} s; its output:\n{output.read_text()}"
            )
        time.sleep(0.05)


def _when_written(output: Path) -> str:
    """Wait for the banner, which is printed after the ready file is written; return the part with the addresses."""
    deadline = time.monotonic() + 5.0
    while "Ctrl-C" not in output.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return output.read_text().partition("\n  Data")[0]


def _import(log: Path, site: str, home: Path) -> None:
    began = time.monotonic()
    arguments = ["import", "access-log", str(log), "--site", site, "--home", str(home), "-o", "json"]
    done = subprocess.run(_announced(arguments), stdout=subprocess.PIPE, text=True, check=False, timeout=STEP_TIMEOUT_S)
    if done.returncode != 0:
        raise StepFailed(f"the import ended with exit code {done.returncode}")
    counts = json.loads(done.stdout)
    skipped = ", ".join(f"{reason} {count:,}" for reason, count in counts["skipped"].items())
    _say(f"    {counts['lines']:,} lines: {counts['accepted']:,} hits accepted; skipped: {skipped}")
    if not counts["accepted"] or counts["accepted"] != counts["sent"]:
        raise StepFailed(f"{counts['sent']} hits were sent and {counts['accepted']} accepted")
    _say(f"    can be queried after {time.monotonic() - began:.1f} s")


def _hitmesh(*arguments: str) -> None:
    done = subprocess.run(_announced(arguments), check=False, timeout=STEP_TIMEOUT_S)
    if done.returncode != 0:
        raise StepFailed(f"`hitmesh {arguments[0]}` ended with exit code {done.returncode}")
    _say("")


def _announced(arguments: Sequence[str]) -> list[str]:
    _say(f"  $ hitmesh {shlex.join(arguments)}")
    return [*HITMESH, *arguments]


def _step(number: int, text: str) -> None:
    _say(f"\n[{number}/6] {text}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.environ.pop("HITMESH_ENDPOINT", None)
    sys.exit(main())
