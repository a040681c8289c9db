"""An HTTP server that acts as Druid and gives the answers that a test supplies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from hitmesh.adapters.servers import Servers

Answer = tuple[int, bytes] | tuple[int, bytes, dict[str, str]]
Script = Callable[[str, str, Any], Answer]
"""A function that gets the method, path and body of a request, and returns the answer."""


@contextmanager
def a_druid(script: Script) -> Iterator[Servers]:
    """Run an HTTP server that answers as the script says.

    Yield the addresses with which a mesh uses this server as Druid.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, data, *more = script(self.command, self.path, orjson.loads(body) if body else None)
            headers = {"Content-Length": str(len(data)), **(more[0] if more else {})}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = headers["Content-Length"] != str(len(data))

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names that the server looks for

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield servers_at(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def servers_at(url: str, mark_margin_ms: int = 200) -> Servers:
    """Return the servers of a mesh whose Druid is at `url`, and whose Kafka and Cassandra do not exist."""
    return Servers("127.0.0.1:1", "127.0.0.1:1", url, url, "mesh", mark_margin_ms=mark_margin_ms)
