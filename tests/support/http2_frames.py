"""HTTP/2 connections that send any frames, also in orders and amounts that no client library sends (RFC 9113)."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple

from hitmesh.tools.dev.envoy import Address
from tests.support.patience import patient

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
REFUSED_STREAM = 0x7
INITIAL_WINDOW_SIZE = 0x4
FRAME_BYTES = 16_384
MAX_WINDOW = (1 << 31) - 1

Headers = Sequence[tuple[str, str]]
GRPC: Headers = (("content-type", "application/grpc"), ("te", "trailers"))


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: Kind, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value: int, prefix_bits: int, pattern: int = 0) -> bytes:
    """Return an integer in HPACK's form, after a pattern that fills the first bits (RFC 7541, 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([pattern | value])
    encoded, value = bytearray([pattern | limit]), value - limit
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def field(name: str, value: str, pattern: int = 0) -> bytes:
    """Return a header as two literals. The pattern 0x40 adds the header to the dynamic table."""
    texts = (text.encode() for text in (name, value))
    return bytes([pattern]) + b"".join(integer(len(text), 7) + text for text in texts)


def head(path: str, method: str = "GET", more: Headers = ()) -> bytes:
    """Return the header block of a request."""
    required = ((":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path))
    return b"".join(field(*header) for header in (*required, *more))


def request(stream: int, path: str, method: str = "GET", more: Headers = (), *, ends: bool = True) -> bytes:
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(Kind.HEADERS, stream, head(path, method, more), flags)


def reset(stream: int) -> bytes:
    return frame(Kind.RST_STREAM, stream, struct.pack(">I", 8))


def window_update(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, stream, struct.pack(">I", size))


class RawHttp2:
    """A connection that begins with the preface and the settings; everything else is the caller's.

    Args:
        at: the address.
        window: initial window of each stream, for responses.
        receive_buffer: size of the kernel's buffer; None means the system's default.
    """

    def __init__(self, at: Address, *, window: int = 65_535, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(patient(20))
        self.socket.connect((at.host, at.port))
        self.socket.sendall(PREFACE + frame(Kind.SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))

    def __enter__(self) -> RawHttp2:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, frames: bytes) -> None:
        self.socket.sendall(frames)

    def frames(self) -> Iterator[Frame]:
        """Yield the frames that arrive until the peer closes the connection."""
        with contextlib.suppress(ConnectionError, EOFError):
            while True:
                length, kind, flags, stream = struct.unpack(">IBBI", b"\0" + self._exactly(9))
                yield Frame(kind, flags, stream & MAX_WINDOW, self._exactly(length))

    def flood(self, chunk: bytes, max_bytes: int) -> int:
        """Send the chunk again and again, without reading, and return how many bytes the peer accepted.

        Raises:
            AssertionError: the peer accepted `max_bytes` bytes.
        """
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < max_bytes:
                self.socket.sendall(chunk)
                sent += len(chunk)
        assert sent < max_bytes, "the peer accepted the whole flood"
        return sent

    def is_closed(self) -> bool:
        """Read until the peer closes the connection; the socket's timeout is the limit."""
        for _ in self.frames():
            pass
        return True

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self.socket.recv(size - len(received))
            if not part:
                raise EOFError
            received += part
        return bytes(received)
