"""Measures the CPU and memory use of a local mesh's processes.

A mesh's processes are the descendants of the process that wrote the ready file, and the storage servers in the ready
file.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from hitmesh.client.home import READY_FILE

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's resource use during a run."""

    name: str
    pid: int
    cpu_s: float
    max_rss_mib: float


@dataclass(slots=True)
class _Watched:
    process: psutil.Process
    name: str
    first_cpu_s: float
    last_cpu_s: float
    max_rss_bytes: int


class ProcessWatch:
    """Measures processes repeatedly.

    The last measurement of an ended process is kept.
    """

    def __init__(self, pids: dict[int, str]) -> None:
        self._watched: list[_Watched] = []
        for pid, name in pids.items():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                cpu_s, rss_bytes = _sample(process)
                self._watched.append(_Watched(process, name, cpu_s, cpu_s, rss_bytes))

    def look(self) -> None:
        """Measure every process once."""
        for watched in self._watched:
            with contextlib.suppress(psutil.Error):
                watched.last_cpu_s, rss_bytes = _sample(watched.process)
                watched.max_rss_bytes = max(watched.max_rss_bytes, rss_bytes)

    def usages(self) -> list[Usage]:
        """Return each process's resource use from the start of the watch to the last measurement."""
        return [
            Usage(
                watched.name,
                watched.process.pid,
                watched.last_cpu_s - watched.first_cpu_s,
                watched.max_rss_bytes / _MIB,
            )
            for watched in self._watched
        ]


def mesh_pids(home: Path, address: str) -> tuple[dict[int, str], str]:
    """Return the names of the mesh's processes, keyed by pid.

    If no process is found, the second value is the reason.
    """
    try:
        ready = json.loads((home / READY_FILE).read_bytes())
        parent, listens = int(ready["pid"]), str(ready["grpc"])
        servers = {int(pid): str(name) for name, pid in ready.get("servers", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, f"not measured, because {home / READY_FILE} is missing or invalid: name the mesh's home with --home"
    if listens != address:
        return {}, f"not measured, because {home} is not the home of the mesh at {address}: name its home with --home"
    found = {process.pid: _name(process) for process in descendants(parent)} | servers
    return (
        found,
        "" if found else f"not measured, because process {parent} of the mesh has no child processes on this machine",
    )


def descendants(parent: int) -> list[psutil.Process]:
    """Return all descendants of a process, by ascending pid."""
    try:
        return sorted(psutil.Process(parent).children(recursive=True), key=lambda process: process.pid)
    except (psutil.Error, ValueError):  # the number in a ready file may be outside the range of pids
        return []


def _name(process: psutil.Process) -> str:
    """Return a process's name: the module for `python -m module`, otherwise the program's name."""
    try:
        words = process.cmdline()
    except psutil.Error:
        words = []
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return (Path(words[0]).name if words else "") or "?"


def _sample(process: psutil.Process) -> tuple[float, int]:
    """Return the CPU seconds (user and system) and the resident memory in bytes.

    Raises:
        psutil.Error: the process has ended.
    """
    with process.oneshot():
        cpu = process.cpu_times()
        return cpu.user + cpu.system, process.memory_info().rss
