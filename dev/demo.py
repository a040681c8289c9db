"""`make demo`: run a whole mesh from nothing to a report, in steps that can be repeated by hand.

The demo starts `hitmesh dev` with a temporary home directory, imports an access log, and prints a report with a plot.
If the machine has a real access log, the demo imports the real log, otherwise a small generated log. Next the demo
sends live traffic and compares the hits with the reports. Finally the demo prints the ledger and the addresses, and
stops the mesh. The exit code is 1 if any step fails.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

ACCESS_LOG = Path(__file__).resolve().parents[2] / "shared" / "data" / "access.log"
SITE = "demo/weblog"
METRICS = "visits,visitors,pageviews,bounce_rate"
LOG_DAYS = ("--since", "2015-05-17", "--until", "2015-05-20")
# Parameters of the generated log, which the demo imports on a machine without the real log. The generated log covers
# the same four days as the real log.
SEED, VISITS, DAYS = 7, 900, 4
FIRST_DAY = datetime(2015, 5, 17, tzinfo=UTC)
PAGES = ("/", "/shoes", "/shoes/red", "/shirts", "/shirts/blue", "/cart", "/help")
REFERRERS = ("-", "-", "https://www.google.com/", "https://www.bing.com/", "https://news.example/today")
AGENTS = ("Mozilla/5.0 (X11; Linux x86_64) Firefox/38.0", "Mozilla/5.0 (Windows NT 6.1) Chrome/43.0 Safari/537.36")
LIVE = ("--rate", "2000", "--duration", "10", "--sites", "10", "--late", "1", "--duplicates", "1", "--bots", "2")
HITMESH = [sys.executable, "-m", "hitmesh.tools.cli"]
READY_TIMEOUT_S = 120.0
STEP_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


class StepFailed(Exception):
    """A step failed; the message names the step and the cause."""


@dataclass(frozen=True)
class Demo:
    """The log file to import, and a description of its content for the user."""

    log: Path
    content: str


def main() -> int:
    """Run the demo and return the exit code."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="hitmesh-demo-") as directory:
            _show(_demo(Path(directory)), Path(directory))
    except (StepFailed, subprocess.TimeoutExpired) as error:
        _say(f"demo failed: {error}")
        return 1
    _say(f"done in {time.monotonic() - began:.0f} s; to keep a mesh running: .venv/bin/hitmesh dev")
    return 0


def _demo(directory: Path) -> Demo:
    if ACCESS_LOG.exists():
        return Demo(ACCESS_LOG, "real traffic")
    log = directory / "access.log"
    log.write_text("".join(access_log_lines(Random(SEED))), encoding="utf-8")
    return Demo(log, "generated traffic")


def access_log_lines(random: Random) -> Iterator[str]:
    """Yield the lines of a generated log in the combined format.

    Each visitor views one to six pages and loads the images of these pages.
    """
    requests: list[tuple[datetime, str]] = []
    for visitor in range(VISITS):
        at = FIRST_DAY + timedelta(seconds=random.randrange(DAYS * 86_400 - 3_600))
        address, referrer = f"192.0.2.{random.randrange(200)}", random.choice(REFERRERS)
        agent = f"{random.choice(AGENTS)} demo/{visitor % 7}"
        for _ in range(random.randint(1, 6)):
            page = random.choice(PAGES)
            for path in (page, f"/images{page}.png"):
                requests.append((at, _line(at, address, path, referrer, agent)))
            referrer, at = f"https://shop.example{page}", at + timedelta(seconds=random.randint(5, 240))
    return (line for _, line in sorted(requests))


def _line(at: datetime, address: str, path: str, referrer: str, agent: str) -> str:
    return f'{address} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "GET {path} HTTP/1.1" 200 5120 "{referrer}" "{agent}"\n'


def _show(demo: Demo, directory: Path) -> None:
    home = directory / "home"
    _step(1, "start the mesh: Envoy, collector, processor, reporter, control")
    with _mesh(home, directory) as banner:
        _step(2, f"import {demo.log.name}, {demo.log.stat().st_size / 1e6:.1f} MB of {demo.content}")
        _import(demo.log, SITE, home)
        _step(3, "ask for a report")
        query = ["query", "--site", SITE, *LOG_DAYS, "--tz", "UTC", "--home", str(home)]
        _hitmesh(*query, "--metrics", METRICS, "--grain", "day", "--plot", "-o", "table")
        _hitmesh(*query, "--metrics", "visits,visitors", "--grain", "none", "--dimensions", "channel", "-o", "table")
        _step(4, "send 2,000 hits per second for ten seconds, compare them with the reports, show the ledger")
        _hitmesh("load", *LIVE, "--home", str(home), "-o", "table")
        _hitmesh("ledger", "--site", "demo/load-0001", "--home", str(home), "-o", "table")
        _step(5, "where everything was")
        _say(banner)
        _step(6, "stop")


@contextmanager
def _mesh(home: Path, directory: Path) -> Iterator[str]:
    """Run a mesh for the duration of a `with` block, and yield the banner's lines with the addresses."""
    ready_file, output = directory / "ready.json", directory / "dev.txt"
    command = [*HITMESH, "dev", "--home", str(home), "--ready-file", str(ready_file), "--no-demo-data"]
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
        mesh.kill()  # the mesh's child processes end when the mesh process ends
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
    """Wait for the banner, and return the banner's lines with the addresses.

    `hitmesh dev` prints the banner after it has written the ready file.
    """
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
