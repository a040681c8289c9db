"""CPU and memory use by a local mesh's processes, read from /proc.

The mesh's processes are the children of the process that wrote the ready file, and the servers that the file names.
Knows nothing about hits.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.client.home import READY_FILE

PROC: Final = Path("/proc")
_MIB: Final = 1 << 20
# Fields in /proc/PID/stat after the name, which may contain spaces: parent, user ticks, system ticks.
_PARENT, _USER, _SYSTEM = 1, 11, 12


@dataclass(frozen=True, slots=True)
class Usage:
    """A process's resource use during a run."""

    name: str
    pid: int
    cpu_s: float
    max_rss_mib: float


@dataclass(slots=True)
class _Watched:
    name: str
    first_cpu_s: float
    last_cpu_s: float
    max_rss_bytes: int


class ProcessWatch:
    """Samples processes repeatedly; a process that has ended keeps the last sample."""

    def __init__(self, pids: dict[int, str]) -> None:
        self._watched: dict[int, _Watched] = {}
        for pid, name in pids.items():
            cpu_s = _cpu_s(pid)
            if cpu_s is not None:
                self._watched[pid] = _Watched(name, cpu_s, cpu_s, _rss_bytes(pid))

    def look(self) -> None:
        """Sample every process once."""
        for pid, watched in self._watched.items():
            cpu_s = _cpu_s(pid)
            if cpu_s is not None:
                watched.last_cpu_s = cpu_s
                watched.max_rss_bytes = max(watched.max_rss_bytes, _rss_bytes(pid))

    def usages(self) -> list[Usage]:
        """Return each process's use from the start of the watch to the last sample."""
        return [
            Usage(watched.name, pid, watched.last_cpu_s - watched.first_cpu_s, watched.max_rss_bytes / _MIB)
            for pid, watched in self._watched.items()
        ]


def mesh_pids(home: Path, address: str) -> tuple[dict[int, str], str]:
    """Return the mesh's processes at `address` by pid, and the reason if there are none."""
    if not PROC.joinpath("self", "stat").exists():
        return {}, "this system has no /proc"
    try:
        ready = json.loads((home / READY_FILE).read_bytes())
        parent, listens = int(ready["pid"]), str(ready["grpc"])
        servers = {int(pid): str(name) for name, pid in ready.get("servers", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, f"no mesh on this machine says its processes in {home / READY_FILE}"
    if listens != address:
        return {}, f"the mesh at {address} is not the one of {home}"
    found = {pid: _name(pid) for pid in descendants(parent)} | servers
    return found, "" if found else f"process {parent} of the mesh has no children here"


def descendants(parent: int) -> list[int]:
    """Return the pids of all descendants of a process, ascending."""
    parents = {}
    for entry in PROC.iterdir():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None:
            parents[int(entry.name)] = int(fields[_PARENT])
    below: set[int] = set()
    layer = {parent}
    while layer:
        layer = {pid for pid, above in parents.items() if above in layer} - below
        below |= layer
    return sorted(below)


def _name(pid: int) -> str:
    """Return the module in `python -m module`, else the program's name."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "?"
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(words[0]).name or "?"


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _cpu_s(pid: int) -> float | None:
    fields = _stat(pid)
    if fields is None:
        return None
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
