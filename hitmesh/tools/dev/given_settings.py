"""The settings that a running `hitmesh dev` gave to its services, in a file of the home directory.

`hitmesh dev` writes the file, and `hitmesh config show --home` reads the file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE: Final = "settings.json"


@dataclass(frozen=True, slots=True)
class Given:
    """The settings of a process.

    Attributes:
        process: name of the process, such as collector or settler-1.
        service: name of the service's Python module.
        variables: the environment variables with the prefix HITMESH_, which `hitmesh dev` set.
        options: names of those variables whose values come from options of `hitmesh dev`.
    """

    process: str
    service: str
    variables: Mapping[str, str]
    options: Collection[str]


def write_given(run: Path, processes: Collection[Given]) -> None:
    """Write the file into a home's directory `run` atomically, readable only by the owner of that directory."""
    temporary = run / f".{FILE}.new"
    temporary.write_text(json.dumps([asdict(each) for each in processes]) + "\n", encoding="utf-8")
    temporary.replace(run / FILE)


def read_given(run: Path) -> list[Given]:
    """Return the processes in the file, in the order in which a hit passes them; empty if there is no file."""
    try:
        return [Given(**each) for each in json.loads((run / FILE).read_bytes())]
    except FileNotFoundError:
        return []
