"""The preStop command of Envoy's pods: `python -m hitmesh.tools.dev.drain SOCKET SECONDS` drains Envoy before its stop.

Envoy then reports that it is not ready, and asks each client at its next answer to open another connection: with
GOAWAY, or with `Connection: close`. Envoy goes on serving until it gets SIGTERM, so no new call is refused. The command
ends after the given seconds, even if Envoy does not answer, because load balancers need the time to leave the pod. A
connection on which only a stream is open, such as StreamHits, is not asked.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 5.0
# Envoy closes connections at their next answer while this check fails.
PATH: Final = "/healthcheck/fail"


class _AdminConnection(http.client.HTTPConnection):
    """A connection to Envoy's admin interface, which listens on a Unix socket."""

    def __init__(self, file: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._file = file

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._file))


def drain(admin: Path) -> None:
    """Begin the drain.

    Args:
        admin: the socket of the admin interface.

    Raises:
        OSError: Envoy does not answer, or refuses.
    """
    connection = _AdminConnection(admin)
    try:
        connection.request("POST", PATH)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise OSError(f"Envoy's answer is not HTTP: {error!r}") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise OSError(f"Envoy answered {PATH} with {status}")


def main(argv: Sequence[str] | None = None) -> int:
    """Drain, and wait in any case; return the exit status: 0, or 1 if Envoy does not answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("socket", type=Path, help="the socket of Envoy's admin interface")
    parser.add_argument("seconds", type=float, help="time until the command ends")
    given = parser.parse_args(argv)
    status = 0
    try:
        drain(given.socket)
    except OSError as error:
        sys.stderr.write(f"{given.socket}: {error}\n")
        status = 1
    time.sleep(given.seconds)
    return status


if __name__ == "__main__":
    sys.exit(main())
