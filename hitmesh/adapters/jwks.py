"""Reads the key set of a token issuer (JWKS) from a file or a URL. Sizes and times are limited.

The module transports bytes; hitmesh.access.token_keys decides which keys are usable.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.reasons import LocalReason

_PIECE: Final = 16_384
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Distinguishes the versions of a file. A file that was replaced has another inode."""

    inode: int
    size: int
    changed_ns: int


def version_of(path: Path) -> FileVersion:
    """Return the version of a file; symbolic links are followed, as in directories that Kubernetes mounts.

    Raises:
        Unavailable: the file cannot be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return FileVersion(found.st_ino, found.st_size, found.st_mtime_ns)


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a file; at most `max_bytes` + 1 bytes are read, so that a reader can refuse a large file.

    Raises:
        Unavailable: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error


def checked_url(text: str) -> urllib.parse.SplitResult:
    """Return the parts of a URL from which keys may be fetched.

    Raises:
        RefusedError: the URL is not https. With http, anybody on the way could replace the keys, so http is allowed for
            this machine only (INVALID_CONFIG).
    """
    try:
        parts = urllib.parse.urlsplit(text)
        is_complete = bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.fragment
    except ValueError:
        is_complete = False
    if not is_complete or parts.scheme not in ("https", "http") or not text.isascii() or not text.isprintable():
        raise _wrong_url("the URL of the key set is not a complete URL")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise _wrong_url("the URL of the key set uses http, and its host is not this machine")
    return parts


def fetched(url: str, timeout_s: float, max_bytes: int, elapsed_s: Callable[[], float] = time.monotonic) -> bytes:
    """Return the body of a GET request, at most `max_bytes` + 1 bytes. Redirects are not followed.

    Args:
        url: the URL.
        timeout_s: maximum seconds for a step of the connection, and for the whole body.
        max_bytes: maximum size of the body.
        elapsed_s: a monotonic clock, in seconds.

    Raises:
        Unavailable: the server does not answer in time, or does not answer with status 200.
        RefusedError: the URL is not allowed (INVALID_CONFIG).
    """
    parts = checked_url(url)
    deadline = elapsed_s() + timeout_s
    connection = _connection(parts, timeout_s)
    try:
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", path, headers={"accept": "application/jwk-set+json, application/json"})
        response = connection.getresponse()
        if response.status != _OK:
            raise Unavailable(
                f"the issuer's key set has the HTTP status {response.status}: check the URL of the keys",
                status=response.status,
            )
        body = b""
        while len(body) <= max_bytes and (piece := response.read1(_PIECE)):
            body += piece
            if elapsed_s() > deadline:
                raise TimeoutError("the body did not arrive in time")
        return body[: max_bytes + 1]
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(
            "the issuer's key set cannot be fetched: check the URL of the keys and the network"
        ) from error
    finally:
        connection.close()


def _connection(parts: urllib.parse.SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _wrong_url(problem: str) -> RefusedError:
    return RefusedError(f"{problem}: give an https URL, such as https://host/path", reason=LocalReason.INVALID_CONFIG)


def _unreadable(path: Path, error: OSError) -> Unavailable:
    found = Unavailable(
        f"the key set in the file {path} cannot be read: give the services read access to the file", file=str(path)
    )
    found.__cause__ = error
    return found
