"""Tells the user which processes of the mesh are not ready and why, and keeps the state in a file.

Envoy's health checks decide whether a process gets calls. A process that answers names its causes itself.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hitmesh.tools.dev.envoy import Address
from hitmesh.tools.dev.health import HEALTHY, SILENT, Causes
from hitmesh.tools.dev.instances import Instance

FILE: Final = "health.json"
NO_ANSWER: Final = "no health check is answered"

Say = Callable[[str], None]
AskCauses = Callable[[Address], Causes]


class Conditions:
    """The causes for which processes are not ready. A line is printed when a process's readiness changes.

    Args:
        file: gets the state as JSON, keyed by process: `{"ready": true}`, or `{"ready": false, "cause": "…"}`.
        warn: prints a line about a process that is not ready.
        ask: returns the causes that a process names, from the address of its metrics.
    """

    def __init__(self, file: Path, warn: Say, ask: AskCauses) -> None:
        self._file = file
        self._warn = warn
        self._ask = ask
        self._causes: dict[str, str] = {}
        self._written: dict[str, str] | None = None

    def look(self, instances: Sequence[Instance], checks: Mapping[Address, str] | None) -> None:
        """Print what has changed since the last call, and write the file.

        Args:
            instances: all processes of the mesh.
            checks: the result of Envoy's health check by address. A process without a result is asked directly. None
                if Envoy does not answer: nothing is printed then.
        """
        if checks is None:
            return
        causes = {instance.name: self._cause(instance, checks.get(instance.address)) for instance in instances}
        ill = {name: cause for name, cause in causes.items() if cause}
        for name, cause in ill.items():
            if name not in self._causes:
                self._warn(f"{name} is not ready, so it gets no calls: {cause}")
        for name in self._causes:
            if name not in ill:
                self._warn(f"{name} is ready again")
        self._causes = ill
        self._write(causes)

    def _cause(self, instance: Instance, check: str | None) -> str:
        if check == HEALTHY:
            return ""
        if check == SILENT:
            return NO_ANSWER
        return self._ask(instance.metrics).text or ("" if check is None else self._causes.get(instance.name, ""))

    def _write(self, causes: dict[str, str]) -> None:
        if causes == self._written:
            return
        state = {name: {"ready": False, "cause": cause} if cause else {"ready": True} for name, cause in causes.items()}
        new = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):  # the disk may be full, which the printed lines tell
            new.write_text(f"{json.dumps(state, indent=2)}\n", encoding="utf-8")
            new.replace(self._file)
            self._written = causes
