"""The storage back end of a mesh on this machine.

The data is in files in the home directory, or in local Kafka, Cassandra and Druid.

A home directory always uses the back end that was chosen first, because only this back end contains the home
directory's keys and demo shop.
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
    """Kind of storage."""

    EMBEDDED = "embedded"
    STACK = "stack"


class OtherBackend(Exception):
    """The home directory already uses another back end."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The back end that a home directory uses.

    Attributes:
        backend: kind of storage.
        mesh: name of the mesh on the servers, which several meshes may share.
        stack_home: home directory of the servers.
    """

    backend: Backend
    mesh: str = ""
    stack_home: str = ""


def choose(home: Home, requested: Backend | None, stack_home: Path | None, default_stack_home: Path) -> Choice:
    """Choose the back end, and record the choice in the home directory.

    Args:
        home: the home directory, which must be prepared and locked.
        requested: the requested back end; None means the recorded back end, or embedded if none is recorded.
        stack_home: the requested home directory of the servers; None means the recorded directory.
        default_stack_home: the home directory of the servers if none is requested or recorded.

    Raises:
        OtherBackend: the home directory already uses another back end.
    """
    known = _read(home.data / NOTE) or (Choice(Backend.EMBEDDED) if home.server_key.exists() else None)
    if known is not None and requested not in (None, known.backend):
        raise OtherBackend(
            f"the mesh in {home.root} uses the back end {known.backend}, not {requested}: "
            f"give another --home, or omit --backend"
        )
    chosen = known or Choice(requested or Backend.EMBEDDED)
    if chosen.backend is Backend.STACK:
        chosen = replace(
            chosen,
            mesh=chosen.mesh or f"dev_{secrets.token_hex(4)}",
            stack_home=str((stack_home or Path(chosen.stack_home or default_stack_home)).expanduser().resolve()),
        )
    _write(home.data / NOTE, chosen)
    return chosen


def opened(home: Home, choice: Choice, say: Say) -> Home:
    """Start servers that are down, and return the home directory with the servers' store URL.

    Raises:
        StackError: a server does not start.
    """
    if choice.backend is Backend.EMBEDDED:
        return home
    store = commands.ensure_up(Path(choice.stack_home), say)
    return replace(home, servers=_named(store, choice))


def have_moved(home: Home, choice: Choice) -> bool:
    """Return whether the servers' TCP ports have changed since the home directory was opened."""
    if choice.backend is Backend.EMBEDDED:
        return False
    store = commands.url(Path(choice.stack_home))
    return store is not None and _named(store, choice) != home.servers


def server_pids(choice: Choice) -> Mapping[str, int]:
    """Return the pid of each back-end server, keyed by server name; empty for embedded stores."""
    return commands.processes(Path(choice.stack_home)) if choice.backend is Backend.STACK else {}


def settings(choice: Choice, service: str, name: str, run: Path) -> Mapping[str, str]:
    """Return the settings of a process that depend on the back end.

    With embedded stores, short intervals between writes cost little, and users see hits sooner. With storage servers,
    each window of the stream is a transaction, and each flush makes some hundred writes. Services with storage servers
    therefore keep the default intervals.
    """
    on_files = choice.backend is not Backend.STACK
    if service == "collector" and on_files:
        return {"LINGER_MS": "20"}
    if service == "processor":
        pace = {"WINDOW_MS": "200", "FLUSH_MS": "1000"} if on_files else {}
        return {**pace, "CACHE": str(run / f"kept-hits-{name}")}
    return {}


def _named(store: str, choice: Choice) -> str:
    return f"{store}&name={choice.mesh}"


def _read(file: Path) -> Choice | None:
    try:
        note = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return Choice(Backend(note["backend"]), note["mesh"], note["stack_home"])


def _write(file: Path, choice: Choice) -> None:
    temporary = file.with_name(f".{file.name}.new")
    note = {"backend": str(choice.backend), "mesh": choice.mesh, "stack_home": choice.stack_home}
    temporary.write_text(json.dumps(note) + "\n", encoding="utf-8")
    temporary.replace(file)
