"""A TCP relay between client and server. The relay can stop passing bytes, as a faulty network does."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress

_CHUNK = 65_536


class Relay:
    """A relay that passes bytes between client and server in both directions.

    While the relay passes no bytes on, it buffers all bytes that arrive.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Return the address to which clients connect."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def fall_silent(self) -> None:
        """Buffer all bytes that arrive from now on."""
        self._passing.clear()

    def go_on(self) -> None:
        """Pass on the buffered bytes."""
        self._passing.set()

    def close(self) -> None:
        """Closes every connection."""
        self._passing.set()
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), closing(sink):
            while data := source.recv(_CHUNK):
                self._passing.wait()
                sink.sendall(data)
