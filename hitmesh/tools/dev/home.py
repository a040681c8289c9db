"""A mesh's home directory: data, logs, keys, and the ready file with the listening addresses."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hitmesh.client.home import HOME_VARIABLE, home_dir

if TYPE_CHECKING:  # imported for types only, so that a home directory can be locked before slow modules are loaded
    from hitmesh.tools.dev.envoy import Address

KEY_PREFIX = "hms_"
DEMO_NOTE = "demo-shop.json"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below the home directory.

    Attributes:
        root: the home directory.
        servers: store URL of the storage servers; "" if the data is in embedded stores in the home directory.
    """

    root: Path
    servers: str = ""

    def is_default(self, environment: Mapping[str, str]) -> bool:
        """Return whether commands use this home directory if no --home is given.

        The function ignores HITMESH_HOME: the user may paste a command into another shell, in which the variable is not
        set.
        """
        elsewhere = {name: value for name, value in environment.items() if name != HOME_VARIABLE}
        return self.root == home_dir(None, elsewhere).resolve()

    @property
    def data(self) -> Path:
        """Directory of the embedded stores."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """Directory of the logs: the output of every child process."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Directory for the rendered configuration and the lock."""
        return self.root / "run"

    @property
    def certs(self) -> Path:
        """Directory of the certificates of `hitmesh dev --tls`."""
        return self.root / "certs"

    @property
    def server_key(self) -> Path:
        """The server key of merchant `demo`, mode 0600."""
        return self.root / "keys" / "dev-server"

    @property
    def operator_key(self) -> Path:
        """The key of the mesh's operator, mode 0600."""
        return self.root / "keys" / "dev-operator"

    @property
    def has_keys(self) -> bool:
        """Whether both keys exist, and the server key has its roles."""
        return self.server_key.exists() and self.operator_key.exists() and self.roles_note.exists()

    @property
    def roles_note(self) -> Path:
        """An empty file that exists once the roles of the server key are stored."""
        return self.root / "keys" / ".dev-server-has-roles"

    @property
    def ready_file(self) -> Path:
        """Default path of the ready file."""
        return self.root / "ready.json"

    @property
    def store_url(self) -> str:
        """The store URL that the services open."""
        return self.servers or f"embedded:{self.data}"

    @property
    def demo_note(self) -> Path:
        """File that contains the demo shop's end time, and whether the shop was loaded."""
        return self.data / DEMO_NOTE

    def demo_is_loaded(self) -> bool:
        """Return whether the demo shop was loaded."""
        return self.demo_note.exists() and bool(json.loads(self.demo_note.read_bytes())["loaded"])

    def forget_mesh(self) -> None:
        """Delete the keys, and the record that the demo shop is loaded, because the mesh's data was deleted."""
        for file in (self.server_key, self.operator_key, self.roles_note, self.demo_note):
            file.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Create the directories. Only the owner may access the directories below the root.

        Raises:
            OSError: a directory cannot be created or belongs to another user.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        for path in (self.data, self.logs, self.run, self.server_key.parent):
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)

    def lock(self) -> IO[str] | None:
        """Acquire and return this home directory's lock. The result's `close` releases the lock.

        If another mesh holds the lock, return None.
        """
        held = (self.run / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return None
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        return held

    def lock_holder(self) -> str:
        """Return the lock holder's pid as text for messages, or "?" if the pid is unknown."""
        return (self.run / "lock").read_text(encoding="utf-8") or "?"


def new_secret() -> str:
    """Return a new key of 32 random bytes."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def write_secret(path: Path, secret: str) -> None:
    """Write a key atomically, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
        target.write(f"{secret}\n")
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)


def remove_files(files: Iterable[Path]) -> None:
    """Remove files; a missing file is no error."""
    for file in files:
        file.unlink(missing_ok=True)


def write_ready_file(
    path: Path, door: Address, metrics: Mapping[str, str], servers: Mapping[str, int], *, operators: Address
) -> None:
    """Write the ready file atomically.

    The file has the addresses of the public and of the operators' listener, each process's metrics URL, and the
    servers' pids.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    ready: dict[str, object] = {
        "http": f"http://{door}",
        "grpc": str(door),
        "operators": str(operators),
        "pid": os.getpid(),
        "metrics": dict(metrics),
    }
    if servers:
        ready["servers"] = dict(servers)
    temporary.write_text(json.dumps(ready) + "\n", encoding="utf-8")
    temporary.replace(path)
