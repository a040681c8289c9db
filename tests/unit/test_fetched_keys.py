"""Test the transport of key sets from a real HTTP server: sizes, times, redirects, and URLs that are not allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hitmesh.adapters.jwks import checked_url, fetched
from hitmesh.model.errors import RefusedError, Unavailable

LIMIT = 10_000


class Answers(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/moved":
            self.send_response(302)
            self.send_header("location", "/keys")
            self.end_headers()
            return
        self.send_response(503 if path == "/down" else 200)
        self.end_headers()
        if path == "/large":
            self.wfile.write(b"x" * LIMIT * 100)
        elif path == "/slow":
            self.server.released.wait(20)  # type: ignore[attr-defined]  # an attribute of this test's server
        else:
            self.wfile.write(self.path.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    released = server.released = threading.Event()  # type: ignore[attr-defined]  # read by Answers
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url


def test_the_body_of_the_path_and_query_is_returned(server: str) -> None:
    assert fetched(f"{server}/keys?version=2", 20, LIMIT) == b"/keys?version=2"
    assert fetched(server, 20, LIMIT) == b"/"


def test_a_large_body_is_not_read_to_its_end(server: str) -> None:
    assert len(fetched(f"{server}/large", 20, LIMIT)) == LIMIT + 1


@pytest.mark.parametrize(("path", "status"), [("/down", 503), ("/moved", 302)])
def test_only_status_200_is_an_answer(server: str, path: str, status: int) -> None:
    with pytest.raises(Unavailable, match=f"HTTP status {status}: check the URL"):
        fetched(server + path, 20, LIMIT)


def test_a_slow_server_is_given_up(server: str) -> None:
    with pytest.raises(Unavailable, match="cannot be fetched"):
        fetched(f"{server}/slow", 0.1, LIMIT)


def test_a_body_that_trickles_is_given_up_after_the_time_for_the_whole_body(server: str) -> None:
    times = iter([0.0, 21.0])
    with pytest.raises(Unavailable, match="cannot be fetched"):
        fetched(f"{server}/keys", 20, LIMIT, lambda: next(times))


def test_a_server_that_does_not_run_is_unavailable() -> None:
    with serving() as url:
        pass
    with pytest.raises(Unavailable, match="check the URL of the keys and the network"):
        fetched(url, 20, LIMIT)


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.evil.example/",
        "ftp://issuer.example/keys",
        "file:///etc/passwd",
        "https:///keys",
        "https://user:secret@issuer.example/",
        "https://issuer.example/#keys",
        "https://issuer.example:99999/",
        "https://issuer.example/\r\nx: y",
        "https://[::1/",
        "keys",
        "",
    ],
)
def test_other_urls_are_refused_without_their_text(url: str) -> None:
    with pytest.raises(RefusedError) as caught:
        checked_url(url)
    assert caught.value.reason == "INVALID_CONFIG"
    assert "give an https URL" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://issuer.example/keys", "https://issuer.example:8443", "http://localhost:1/", "http://[::1]:9/k"]
)
def test_https_is_allowed_everywhere_and_http_on_this_machine(url: str) -> None:
    assert checked_url(url).hostname
