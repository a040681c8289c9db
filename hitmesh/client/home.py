"""Finds a mesh and its key: home directory, ready file, endpoint, server key.

The home directory is the directory with the files of a mesh on this machine. A command-line option takes precedence
over an environment variable, and an environment variable takes precedence over a file in the home directory. This
module imports no slow modules, so that commands start fast.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.reasons import LocalReason

if TYPE_CHECKING:
    from platformdirs.unix import Unix

HOME_VARIABLE: Final = "HITMESH_HOME"
ENDPOINT_VARIABLE: Final = "HITMESH_ENDPOINT"
OPERATOR_ENDPOINT_VARIABLE: Final = "HITMESH_OPERATOR_ENDPOINT"
KEY_VARIABLE: Final = "HITMESH_KEY"
KEY_FILE_VARIABLE: Final = "HITMESH_KEY_FILE"
METRICS_VARIABLE: Final = "HITMESH_METRICS"
READY_FILE: Final = "ready.json"
LOCK_FILE: Final = "run/lock"
# `hitmesh dev` loads its demo data for up to a minute before it writes the ready file.
START_TIMEOUT_S: Final = 60.0
# Maximum time in seconds between the start of `hitmesh dev` and the moment at which it holds the lock. A script may run
# another command directly after it starts `hitmesh dev`.
LOCK_TIMEOUT_S: Final = 1.0
START_LOOK_S: Final = 0.1
DEV_KEY_FILE: Final = "keys/dev-server"
OPERATOR_KEY_VARIABLE: Final = "HITMESH_OPERATOR_KEY"
OPERATOR_KEY_FILE_VARIABLE: Final = "HITMESH_OPERATOR_KEY_FILE"
DEV_OPERATOR_KEY_FILE: Final = "keys/dev-operator"
CONNECT_TIMEOUT_S: Final = 5.0
CURE_NO_MESH: Final = "start a mesh with `hitmesh dev`, or name a running mesh with --endpoint HOST:PORT"

_ENDPOINT: Final = re.compile(r"(?:https?://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?")


class NoMesh(Unavailable):
    """No mesh is running in the given home directory or at the given address."""

    reason = LocalReason.NO_MESH


class NotStarted(Unavailable):
    """A mesh is starting in the given home directory, and was not ready in time."""

    reason = LocalReason.NOT_STARTED_YET


def home_dir(option: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the absolute path of the home directory.

    The path is the option, else HITMESH_HOME, else hitmesh/ in the XDG data directory.
    """
    if option is not None:
        return option.expanduser().absolute()
    if environment.get(HOME_VARIABLE):
        return Path(environment[HOME_VARIABLE]).expanduser().absolute()
    return xdg().user_data_path


def xdg() -> Unix:
    """Return the project's directories according to the XDG specification, as platformdirs finds them."""
    from platformdirs.unix import Unix

    return Unix("hitmesh")


def parse_endpoint(text: str) -> str:
    """Return `host:port` from `host:port` or an http URL.

    Raises:
        RefusedError: the text is neither `host:port` nor an http URL (INVALID_ENDPOINT).
    """
    found = _ENDPOINT.fullmatch(text.strip())
    if found is None or not 0 < int(found[2]) < 65_536:
        raise RefusedError(
            f"endpoint {text!r} is not an address: write HOST:PORT, for example 127.0.0.1:8080",
            field="endpoint",
            reason=LocalReason.INVALID_ENDPOINT,
        )
    return f"{found[1]}:{found[2]}"


def endpoint(option: str | None, home: Path, environment: Mapping[str, str]) -> str:
    """Return the mesh's `host:port`.

    The address is the option, else HITMESH_ENDPOINT, else the address in the home directory's ready file.

    Raises:
        NoMesh: no mesh runs in this home directory, because there is no ready file or the process in the ready file has
            ended.
        RefusedError: the address (INVALID_ENDPOINT) or the ready file (INVALID_CONFIG) is invalid.
    """
    named = option or environment.get(ENDPOINT_VARIABLE)
    return parse_endpoint(named) if named else _ready(home)[0]


def operators_endpoint(option: str | None, home: Path, environment: Mapping[str, str]) -> str:
    """Return `host:port` of the listener that serves the RPCs of operators.

    The address is the option, else HITMESH_OPERATOR_ENDPOINT, else HITMESH_ENDPOINT, else the operators' address in the
    home directory's ready file. If the option or variable names the public address of the mesh in this home directory,
    the result is also the operators' address in the ready file.

    Raises:
        NoMesh: no mesh runs in this home directory, because there is no ready file or the process in the ready file has
            ended.
        RefusedError: the address (INVALID_ENDPOINT) or the ready file (INVALID_CONFIG) is invalid.
    """
    named = option or environment.get(OPERATOR_ENDPOINT_VARIABLE) or environment.get(ENDPOINT_VARIABLE)
    if not named:
        return _ready(home)[1]
    address = parse_endpoint(named)
    try:
        public, operators = _ready(home)
    except (NoMesh, RefusedError):  # the address may belong to a mesh on another machine
        return address
    return operators if address == public else address


def _ready(home: Path) -> tuple[str, str]:
    """Return the public address and the operators' address in the home directory's ready file."""
    ready = home / READY_FILE
    try:
        contents = json.loads(ready.read_bytes())
        address, pid = parse_endpoint(str(contents["grpc"])), int(contents.get("pid", 0))
        operators = parse_endpoint(str(contents.get("operators", address)))
    except FileNotFoundError as error:
        raise NoMesh(
            f"no mesh is running on {home} (there is no {READY_FILE}): {CURE_NO_MESH}. "
            "If `hitmesh dev` was just started, try again in some seconds"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(
            f"{ready} is not a ready file: stop the mesh and start it again",
            field="home",
            reason=LocalReason.INVALID_CONFIG,
        ) from error
    # A killed mesh leaves its ready file behind. Another process may now listen on the port in the ready file.
    if pid > 0 and not _is_alive(pid):
        raise NoMesh(
            f"no mesh is running on {home} ({READY_FILE} names process {pid}, which has ended): {CURE_NO_MESH}"
        )
    return address, operators


def is_starting(home: Path) -> bool:
    """Return whether a mesh is starting: a process holds the home directory's lock, but there is no ready file yet."""
    try:
        held = (home / LOCK_FILE).open(encoding="utf-8")
    except OSError:
        return False
    with held:
        pid = held.read().strip()
        if (home / READY_FILE).exists() or not (pid.isdecimal() and _is_alive(int(pid))):
            return False
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def wait_until_started(home: Path, timeout_s: float, tell: Callable[[str], None]) -> None:
    """Block while a mesh is starting in the home directory; return at once if there is a ready file.

    A script may run `hitmesh dev` in the background just before this function is called. If the home directory has no
    ready file and no mesh is starting, the function therefore waits up to LOCK_TIMEOUT_S seconds for a mesh to start.
    If a mesh is starting, the function calls `tell` with a message for the user, and then waits.

    Raises:
        NotStarted: the mesh is still starting after `timeout_s` seconds.
    """
    ends = time.monotonic() + LOCK_TIMEOUT_S
    while not is_starting(home):
        if (home / READY_FILE).exists() or time.monotonic() >= ends:
            return
        time.sleep(START_LOOK_S)
    tell(f"a mesh is starting or stopping on {home}: waiting up to {timeout_s:g} s …")
    ends = time.monotonic() + timeout_s
    while is_starting(home):
        if time.monotonic() >= ends:
            raise NotStarted(
                f"a mesh is starting or stopping on {home} and was not ready within {timeout_s:g} s: try again"
            )
        time.sleep(START_LOOK_S)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # the process exists and belongs to another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def check_reachable(address: str) -> None:
    """Raise unless `host:port` accepts TCP connections.

    Raises:
        NoMesh: no connection could be opened within CONNECT_TIMEOUT_S seconds.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise NoMesh(f"no mesh can be reached on {address} ({error}): {CURE_NO_MESH}") from error


def server_key(home: Path, environment: Mapping[str, str]) -> str | None:
    """Return the server key, or None if no key is configured.

    The key comes from HITMESH_KEY, else from the file that HITMESH_KEY_FILE names, else from the home directory's key
    file.

    Raises:
        RefusedError: the key file cannot be read, or the key has characters that no header may have (INVALID_CONFIG).
            If the home directory's key file does not exist, the result is None.
    """
    return _key(KEY_VARIABLE, KEY_FILE_VARIABLE, home / DEV_KEY_FILE, environment)


def operator_key(home: Path, environment: Mapping[str, str]) -> str | None:
    """Return an operator's key.

    The key comes from HITMESH_OPERATOR_KEY, else from the file that HITMESH_OPERATOR_KEY_FILE names, else from the home
    directory's key file.

    Raises:
        RefusedError: the key file cannot be read, or the key has characters that no header may have (INVALID_CONFIG).
            If the home directory's key file does not exist, the result is None.
    """
    return _key(OPERATOR_KEY_VARIABLE, OPERATOR_KEY_FILE_VARIABLE, home / DEV_OPERATOR_KEY_FILE, environment)


def operator_key_source(home: Path, environment: Mapping[str, str]) -> str:
    """Return the name of the variable or file from which `operator_key` reads; the file need not exist."""
    return _source(OPERATOR_KEY_VARIABLE, OPERATOR_KEY_FILE_VARIABLE, home / DEV_OPERATOR_KEY_FILE, environment)


def server_key_source(home: Path, environment: Mapping[str, str]) -> str:
    """Return the name of the variable or file from which `server_key` reads; the file need not exist."""
    return _source(KEY_VARIABLE, KEY_FILE_VARIABLE, home / DEV_KEY_FILE, environment)


def _source(variable: str, file_variable: str, of_home: Path, environment: Mapping[str, str]) -> str:
    if environment.get(variable):
        return variable
    named = environment.get(file_variable)
    return f"{file_variable} ({named})" if named else str(of_home)


def _key(variable: str, file_variable: str, of_home: Path, environment: Mapping[str, str]) -> str | None:
    key = _read_key(variable, file_variable, of_home, environment)
    if key is None or (key.isascii() and key.isprintable()):
        return key
    source = _source(variable, file_variable, of_home, environment)
    raise RefusedError(
        f"the key in {source} has a line break or a character that is no printable ASCII character: copy the key again",
        field=variable if environment.get(variable) else file_variable,
        reason=LocalReason.INVALID_CONFIG,
    )


def _read_key(variable: str, file_variable: str, of_home: Path, environment: Mapping[str, str]) -> str | None:
    if environment.get(variable):
        return environment[variable].strip()
    named = environment.get(file_variable)
    path = Path(named) if named else of_home
    try:
        return path.read_text("utf-8").strip() or None
    except FileNotFoundError:
        if named is None:
            return None
        raise _unreadable(path, file_variable, f"set {file_variable} to an existing file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, file_variable, f"make the file readable, or set {variable}") from error


def _unreadable(path: Path, field: str, cure: str) -> RefusedError:
    return RefusedError(f"the key in {path} cannot be read: {cure}", field=field, reason=LocalReason.INVALID_CONFIG)
