"""Where the data of a mesh on this machine is: files in its home, or local Kafka, Cassandra and Druid.

Decides that a home keeps the back end it began with: its key and its demo shop are in one of them, not in both.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from hitmesh.tools.dev.home import Home
from hitmesh.tools.stack import commands
from hitmesh.tools.stack.layout import Say

NOTE = "backend.json"


class Backend(StrEnum):
    """Where data is."""

    EMBEDDED = "embedded"
    STACK = "stack"


class OtherBackend(Exception):
    """The home began with another back end."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a home was started with.

    Attributes:
        backend: where data is.
        mesh: name of the mesh on the servers; several share them.
        stack_home: home of the servers.
    """

    backend: Backend
    mesh: str = ""
    stack_home: str = ""


def choose(home: Home, asked: Backend | None, stack_home: Path | None, default_stack_home: Path) -> Choice:
    """Returns what the home is to be started with, and keeps it.

    Args:
        home: prepared and locked.
        asked: the back end that was asked for; None = what the home has, else embedded.
        stack_home: the home of the servers that was asked for; None = the one that the home had.
        default_stack_home: for a home that had none.

    Raises:
        OtherBackend: the home began with another back end.
    """
    known = _read(home.data / NOTE) or (Choice(Backend.EMBEDDED) if home.server_key.exists() else None)
    if known is not None and asked not in (None, known.backend):
        raise OtherBackend(
            f"the mesh in {home.root} is on the back end {known.backend}, not {asked}: "
            f"give another --home, or leave --backend out"
        )
    chosen = known or Choice(asked or Backend.EMBEDDED)
    if chosen.backend is Backend.STACK:
        chosen = replace(
            chosen,
            mesh=chosen.mesh or f"dev_{secrets.token_hex(4)}",
            stack_home=str((stack_home or Path(chosen.stack_home or default_stack_home)).expanduser().resolve()),
        )
    _write(home.data / NOTE, chosen)
    return chosen


def opened(home: Home, choice: Choice, say: Say) -> Home:
    """Returns the home with its store; servers that are down are started.

    Raises:
        StackError: they do not start.
    """
    if choice.backend is Backend.EMBEDDED:
        return home
    store = commands.ensure_up(Path(choice.stack_home), say)
    return replace(home, servers=f"{store}&name={choice.mesh}")


def server_pids(choice: Choice) -> Mapping[str, int]:
    """Returns the process of each server of the back end, by name; none on files."""
    return commands.processes(Path(choice.stack_home)) if choice.backend is Backend.STACK else {}


def settings(choice: Choice, service: str, name: str, run: Path) -> Mapping[str, str]:
    """Returns the settings of a process that depend on where data is.

    People watch: small records and windows cost little on files. On servers a window is a transaction, and a flush some
    hundred writes, so the services' own pace is right.
    """
    on_files = choice.backend is not Backend.STACK
    if service == "collector" and on_files:
        return {"LINGER_MS": "20"}
    if service == "processor":
        pace = {"WINDOW_MS": "200", "FLUSH_MS": "1000"} if on_files else {}
        return {**pace, "CACHE": str(run / f"kept-hits-{name}")}
    return {}


def _read(file: Path) -> Choice | None:
    try:
        said = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return Choice(Backend(said["backend"]), said["mesh"], said["stack_home"])


def _write(file: Path, choice: Choice) -> None:
    temporary = file.with_name(f".{file.name}.new")
    said = {"backend": str(choice.backend), "mesh": choice.mesh, "stack_home": choice.stack_home}
    temporary.write_text(json.dumps(said) + "\n", encoding="utf-8")
    temporary.replace(file)
