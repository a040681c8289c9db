"""Read files that are streamed in pieces."""

from __future__ import annotations

from collections.abc import Iterable

from google.api import httpbody_pb2


def joined(pieces: Iterable[httpbody_pb2.HttpBody]) -> httpbody_pb2.HttpBody:
    """Return the streamed file of an export as one message."""
    received = list(pieces)
    (content_type,) = {piece.content_type for piece in received}
    return httpbody_pb2.HttpBody(content_type=content_type, data=b"".join(piece.data for piece in received))
