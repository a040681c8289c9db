"""Where everything of one stack lies: data, logs, configuration below a home, jars in a cache that homes share."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.client.home import home_dir
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.versions import digest

HOME_VARIABLE: Final = "HITMESH_STACK_HOME"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackHome:
    """Paths below `stack/` of a home."""

    root: Path

    @property
    def base(self) -> Path:
        """Everything of the servers."""
        return self.root / "stack"

    @property
    def ports_file(self) -> Path:
        """Which port each server has."""
        return self.base / "ports.json"

    @property
    def data(self) -> Path:
        """What the servers keep."""
        return self.base / "data"

    @property
    def logs(self) -> Path:
        """What the servers say."""
        return self.base / "logs"

    def conf(self, *names: str) -> Path:
        """Returns a file of configuration."""
        return self.base.joinpath("conf", *names)

    def log(self, name: str) -> Path:
        """Returns the log of a server: what it said since it was last started, and before that."""
        return self.logs / f"{name}.log"

    def pid(self, name: str) -> Path:
        """Returns the note of which process a server is."""
        return self.base / "run" / f"{name}.json"

    def prepare(self) -> None:
        """Makes the folders; nobody else may read them.

        Raises:
            StackError: a folder cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.base, self.data, self.logs, self.conf(), self.pid("").parent):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"{error.filename} cannot be made ({error.strerror}): give another --home") from error

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Holds the lock of this home: who starts or stops servers does so alone."""
        self.prepare()
        with held(self.base / "lock", say):
            yield


@contextmanager
def held(file: Path, say: Say) -> Iterator[None]:
    """Holds a lock, and says so when somebody else has to be waited for."""
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for process {file.read_text(encoding='utf-8') or '?'}, which is at work on {file.parent}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def stack_home(option: Path | None, environment: Mapping[str, str]) -> Path:
    """Returns the home of the servers: the option, else HITMESH_STACK_HOME, else the home of a mesh by default."""
    said = environment.get(HOME_VARIABLE)
    if option is None and said:
        return Path(said).expanduser().absolute()
    return home_dir(option, environment)


def cache_dir(environment: Mapping[str, str]) -> Path:
    """Returns where the jars of these versions are, for all homes."""
    shared = environment.get("XDG_CACHE_HOME", "")
    base = Path(shared) if shared.startswith("/") else Path.home() / ".cache"
    return base / "hitmesh" / f"servers-{digest()}"
