"""The file layout of the servers.

Data, logs and configuration are below a home directory; jars are in a cache that all home directories share.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.client.home import home_dir, xdg
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.versions import digest

HOME_VARIABLE: Final = "HITMESH_STACK_HOME"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StackHome:
    """Paths below the directory `stack/` in a home directory."""

    root: Path

    @property
    def base(self) -> Path:
        """Root directory of all files of the servers."""
        return self.root / "stack"

    @property
    def ports_file(self) -> Path:
        """Path of the file with each server's ports."""
        return self.base / "ports.json"

    @property
    def members_file(self) -> Path:
        """Path of the file with the members of the stack."""
        return self.base / "members.json"

    @property
    def data(self) -> Path:
        """Server data."""
        return self.base / "data"

    @property
    def logs(self) -> Path:
        """Server logs."""
        return self.base / "logs"

    def conf(self, *names: str) -> Path:
        """Return the path of a configuration file."""
        return self.base.joinpath("conf", *names)

    def log(self, name: str) -> Path:
        """Return a server's log since the last start. The previous log has the suffix `.log.1`."""
        return self.logs / f"{name}.log"

    def pid(self, name: str) -> Path:
        """Return the file that identifies a server's process."""
        return self.base / "run" / f"{name}.json"

    def prepare(self) -> None:
        """Create the folders, readable by their owner only.

        Raises:
            StackError: a folder cannot be created.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.base, self.data, self.logs, self.conf(), self.pid("").parent):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"{error.filename} cannot be created ({error.strerror}): give another --home") from error

    @contextmanager
    def locked(self, say: Say) -> Iterator[None]:
        """Hold the lock of this home directory, so that only one process at a time starts or stops servers."""
        self.prepare()
        with held(self.base / "lock", say):
            yield


@contextmanager
def held(file: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a file.

    If another process holds the lock, the function reports this through `say` and waits.
    """
    with file.open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for process {file.read_text(encoding='utf-8') or '?'}, which uses {file.parent}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def stack_home(option: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the servers' home directory.

    The directory is the option's value, else HITMESH_STACK_HOME, else a mesh's default home directory.
    """
    from_environment = environment.get(HOME_VARIABLE)
    if option is None and from_environment:
        return Path(from_environment).expanduser().absolute()
    return home_dir(option, environment)


def cache_dir() -> Path:
    """Return the folder for the jars of these versions, which all home directories share."""
    return xdg().user_cache_path / f"servers-{digest()}"
