"""Read a Dockerfile that has only FROM, COPY, RUN and USER, and do its steps in directories, without Docker."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Copy:
    """COPY: files of the context, or of an earlier stage."""

    source: str
    target: str
    of_stage: str | None = None


@dataclass(frozen=True)
class Run:
    """RUN in the form of a JSON list, which needs no shell."""

    command: tuple[str, ...]


@dataclass
class Stage:
    """A stage: its base image, its steps in order, and the user of the image."""

    base: str
    name: str | None
    steps: list[Copy | Run] = field(default_factory=list)
    user: str | None = None


def parse(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile.

    Raises:
        ValueError: an instruction is not FROM, COPY, RUN or USER, or has another form than this module knows.
    """
    stages: list[Stage] = []
    for line in text.splitlines():
        instruction, _, rest = line.partition(" ")
        if not line.strip() or line.startswith("#"):
            continue
        match instruction, rest.split():
            case "FROM", [base, "AS", name]:
                stages.append(Stage(base, name))
            case "FROM", [base]:
                stages.append(Stage(base, None))
            case "COPY", [*options, source, target]:
                stages[-1].steps += _copies(options, source, target)
            case "COPY", _:
                raise ValueError(f"COPY without a target: {line}")
            case "RUN", _ if rest.startswith("["):
                stages[-1].steps.append(Run(tuple(json.loads(rest))))
            case "USER", [user]:
                stages[-1].user = user
            case _:
                raise ValueError(f"not FROM, COPY, RUN [...] or USER: {line}")
    return stages


def _copies(words: list[str], last: str, target: str) -> Iterator[Copy]:
    stage = None
    if words and words[0].startswith("--from="):
        stage, words = words[0].removeprefix("--from="), words[1:]
    if any(word.startswith("--") for word in words):
        raise ValueError(f"COPY {words}: an unknown option")
    yield from (Copy(source, target, stage) for source in (*words, last))


def build(
    stages: list[Stage],
    context: Path,
    new_root: Callable[[str], Path],
    run: Callable[[Path, tuple[str, ...]], None],
) -> Path:
    """Do the steps of all stages in order, and return the root directory of the last stage.

    Args:
        stages: the stages of the Dockerfile.
        context: the directory from which COPY takes files.
        new_root: returns a new root directory for a base image.
        run: runs a command in a root directory, and raises if the command fails.
    """
    roots: dict[str | None, Path] = {}
    for stage in stages:
        root = roots[stage.name] = new_root(stage.base)
        for step in stage.steps:
            if isinstance(step, Copy):
                copy(roots[step.of_stage] if step.of_stage else context, root, step)
            else:
                run(root, step.command)
    return roots[stages[-1].name]


def copy(origin: Path, root: Path, step: Copy) -> None:
    """Copy like COPY: a directory's content, or a file into a directory whose name ends in a slash."""
    source, target = origin / step.source.lstrip("/"), root / step.target.lstrip("/")
    if source.is_dir():
        if step.of_stage:
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", f"{source}/.", str(target)], check=True)
        else:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        return
    file = target / source.name if step.target.endswith("/") else target
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, file)
