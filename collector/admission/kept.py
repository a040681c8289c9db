"""Selects the bytes and the origin that are kept for refused hits and batches.

A replay of refused hits needs both the kept bytes and the origin. Decides which bytes are never kept: ingest keys, edge
data, and hits whose visitor denied consent.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from collector.admission.denials import may_deny, state_of_hit
from collector.admission.envelopes import Frame
from collector.admission.identity import DENIED
from hitmesh.internal.log.v1 import origin_pb2, view_pb2
from hitmesh.model.records import Origin
from hitmesh.model.refusals import JSON_MARK, MAX_KEPT_BYTES, WHOLE_BATCH, origin_bytes

MAX_CONTEXT_BYTES: Final = 1 << 10
"""Maximum size, in bytes, of the batch's default context that is stored with each refused hit.

A hit whose batch has a larger default context cannot be replayed.
"""
MAX_FIELDS: Final = 4_096
"""Maximum number of fields that are read in a batch that is refused as a whole."""
_KEY_FIELD: Final = 2  # HitBatch.ingest_key
_EDGE_FIELD: Final = 8  # HitBatch.edge
_MIN_KEY_BYTES: Final = 16  # shorter texts are not masked: keys are longer, and masking would damage hits
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
_SECRETS: Final = re.compile(r'"(ingestKey|ingest_key|clientIp|client_ip)"\s*:\s*"(?:[^"\\]|\\.)*(?:"|\\?$)', re.DOTALL)


class Kept(NamedTuple):
    """The bytes and the origin that are kept for a refused hit or batch.

    `origin` is a serialized hitmesh.internal.log.v1.RefusalOrigin.
    """

    original: bytes
    origin: bytes


NOTHING: Final = Kept(b"", b"")


class KeptHits:
    """Selects the bytes that are kept for the refused hits in a batch.

    Args:
        frame: the batch.
        batch: the batch's origin; `batch_index`, `size` and `is_complete` are ignored, because these fields differ from
            hit to hit.
        key: the ingest key as sent. If a client wrote its key into a hit, the key is not kept.
    """

    def __init__(self, frame: Frame, batch: Origin, key: str) -> None:
        self._json = frame.sent
        self._key = key
        try:
            envelope = view_pb2.HitBatchEnvelope.FromString(frame.batch)
        except DecodeError:  # the decoders may disagree about damage in unknown fields
            envelope = view_pb2.HitBatchEnvelope()
        self._hits = envelope.hits
        context = envelope.default_context
        self._has_context = len(context) <= MAX_CONTEXT_BYTES
        # Most fields of RefusalOrigin are equal for all refused hits in a batch, so these fields are serialized once.
        # Appending a hit's serialized fields gives the complete message, because concatenated protobuf messages merge.
        self._shared = origin_bytes(
            replace(
                batch,
                batch_index=0,
                is_json=frame.sent is not None,
                default_context=context if self._has_context else b"",
            )
        )

    def hit(self, index: int) -> Kept:
        """Return the bytes that are kept for a hit, or NOTHING if the hit may deny consent."""
        if self._json is not None and index < len(self._json.spans):
            sent = JSON_MARK + self._json.hit(index)
        elif index < len(self._hits):
            sent = self._hits[index]
            if state_of_hit(sent) == DENIED:
                return NOTHING
        else:
            return NOTHING
        is_complete = self._has_context and len(sent) <= MAX_KEPT_BYTES
        of_hit = origin_pb2.RefusalOrigin(batch_index=index, size=len(sent), complete=is_complete)
        return Kept(_without_key(sent[:MAX_KEPT_BYTES], self._key), self._shared + of_hit.SerializeToString())


def kept_batch(frame: Frame, key: str, batch: Origin, is_denied_by_default: bool) -> Kept:
    """Return the bytes that are kept for a batch that is refused as a whole, or NOTHING if a hit may deny consent (I4).

    Args:
        frame: the batch.
        key: the ingest key as sent.
        batch: facts about the batch.
        is_denied_by_default: whether a hit that states no consent counts as a hit that denies consent, according to the
            site's default.
    """
    if may_deny(frame, is_denied_by_default):
        return NOTHING
    if frame.sent is not None:
        text = frame.sent.text
        start = _SECRETS.sub(r'"\1":""', text[: 2 * MAX_KEPT_BYTES])
        sent = JSON_MARK + start.encode("utf-8", "surrogatepass")
        is_complete = len(text) <= 2 * MAX_KEPT_BYTES and len(sent) <= MAX_KEPT_BYTES
        size = len(text.encode("utf-8", "surrogatepass"))
    else:
        sent, is_complete = without_secrets(frame.batch)
        size = len(frame.batch)
    kept = _without_key(sent[:MAX_KEPT_BYTES], key)
    origin = replace(batch, batch_index=WHOLE_BATCH, size=size, is_complete=is_complete, is_json=frame.sent is not None)
    return Kept(kept, origin_bytes(origin))


def _without_key(sent: bytes, key: str) -> bytes:
    """Return the bytes with the key replaced by as many asterisks. A key that is cut off at the end is removed too."""
    secret = key.encode("utf-8", "surrogatepass")
    if len(secret) < _MIN_KEY_BYTES:
        return sent
    for length in range(len(secret) - 1, _MIN_KEY_BYTES - 1, -1):
        if sent.endswith(secret[:length]):
            sent = sent[:-length] + b"*" * length
    return sent.replace(secret, b"*" * len(secret))


def without_secrets(batch: bytes) -> tuple[bytes, bool]:
    r"""Return the first bytes of a HitBatch without key and edge data, and whether the returned bytes are complete.

    Reading ends at a damaged field. All bytes from the damaged field onwards are kept, unless the damaged field is the
    key or the edge data. At most MAX_FIELDS fields are read.

    Example:
        >>> without_secrets(b"\x12\x03key\x32\x01h")
        (b'2\x01h', True)
        >>> without_secrets(b"\x12\x7fpart of a key")
        (b'', False)
    """
    kept, at, size = bytearray(), 0, 0
    for _ in range(MAX_FIELDS):
        if at >= len(batch):
            return bytes(kept), True
        number, end = _field(batch, at)
        if number not in (_KEY_FIELD, _EDGE_FIELD):
            until = len(batch) if end is None else end
            kept += batch[at : min(until, at + MAX_KEPT_BYTES - size)]
            size += until - at
            if size > MAX_KEPT_BYTES or end is None:
                return bytes(kept), size <= MAX_KEPT_BYTES
        elif end is None:
            return bytes(kept), False
        at = end
    return bytes(kept), at >= len(batch)


def _field(message: bytes, at: int) -> tuple[int, int | None]:
    """Return the number and the end of the field that begins at `at`.

    The end is None if the field is damaged or cut off.
    """
    tag, at = _varint(message, at)
    if tag is None:
        return 0, None
    number, kind = tag >> 3, tag & 7
    end: int | None = None
    if kind == _VARINT:
        value, after = _varint(message, at)
        end = None if value is None else after
    elif kind == _BYTES:
        length, after = _varint(message, at)
        end = None if length is None else after + length
    elif kind in (_FIXED64, _FIXED32):
        end = at + (8 if kind == _FIXED64 else 4)
    return number, end if end is not None and end <= len(message) else None


def _varint(message: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for index, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    return None, at
