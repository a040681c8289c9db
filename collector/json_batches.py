"""Converts a JSON HitBatch to bytes, hit by hit. A hit that does not parse does not affect the other hits.

This module checks only whether a hit's JSON is a valid Hit message. A hit that does not parse becomes undecodable bytes
followed by the hit's JSON, at the same index. Admission refuses the undecodable hit, names the faulty field and keeps
the JSON. Unknown fields are ignored, as in Envoy's transcoder. In JSON, an item's quantity may have decimals. In
protobuf, a quantity with decimals has a separate field.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from google.protobuf import json_format

from collector.admission.denials import state_of_json
from collector.admission.envelopes import MAX_HITS, FoundFault
from collector.json_faults import Broken, unknown_type, wrong_in
from collector.json_split import SentJson, SplitBatch, split_batch
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.errors import RefusedError, Variable
from hitmesh.model.json_hits import MAX_NESTING, readings
from hitmesh.model.reasons import ErrorReason, HitReason

# The tag of a field with number 0 and wire type 7. Protobuf allows neither.
_UNDECODABLE: Final = b"\x07"
# The bytes of an empty hit in a HitBatch. An empty hit replaces each hit that was counted but not read.
_UNREAD_HIT: Final = b"\x32\x00"
_UNKNOWN_TYPE: Final = hit_pb2.HIT_TYPE_UNSPECIFIED
_MAX_ID_CHARS: Final = 128
# The faulty field is searched for in at most DETAILED_HITS hits per batch. Hits with more than DETAILED_BYTES of JSON
# are not searched.
DETAILED_HITS: Final = 8
DETAILED_BYTES: Final = 8 << 10
# The maximum size of a body in bytes. Envoy limits bodies to the same size.
MAX_JSON_BYTES: Final = 2 << 20


class JsonBatch(NamedTuple):
    """A HitBatch as protobuf bytes, and facts about the original JSON that the bytes do not show.

    Attributes:
        batch: the HitBatch as protobuf bytes.
        faults: the faults of hits that do not parse, keyed by the hit's index in the batch.
        sizes: the number of JSON bytes of each of the first MAX_HITS hits.
        sent: the JSON as received.
    """

    batch: bytes
    faults: dict[int, FoundFault]
    sizes: list[int]
    sent: SentJson


def batch_of_json(
    body: bytes, may_send: Callable[[str], bool] = lambda key: True, *, detailed: int = DETAILED_HITS
) -> JsonBatch:
    """Return the HitBatch for a JSON body.

    The body's size, the number of hits and the key are checked before hits are read. If there are too many hits, or if
    the key may not send hits, hits are counted but not read.

    Args:
        body: JSON.
        may_send: returns whether a key may send hits; if it returns false for the batch's key, hits are not read.
        detailed: the maximum number of broken hits in which the faulty field is searched for.

    Raises:
        RefusedError: the body is too large (BATCH_TOO_LARGE), is not a JSON object with a list of hits (DECODE), or has
            a field other than `hits` that does not parse (DECODE).
    """
    if len(body) > MAX_JSON_BYTES:
        limit = f"the limit is {MAX_JSON_BYTES:,}: send fewer hits per batch"
        raise RefusedError(
            f"the body has {len(body):,} bytes; {limit}",
            field="body",
            reason=ErrorReason.BATCH_TOO_LARGE,
            size=len(body),
            limit=MAX_JSON_BYTES,
        )
    try:
        split = split_batch(body, MAX_HITS)
    except (ValueError, RecursionError) as error:
        raise _refused(f"the body is not JSON ({error}): send a HitBatch as JSON", cause=str(error)) from error
    if split is None:
        raise _refused('the body is not a HitBatch: send an object like {"ingestKey": "...", "hits": [...]}')
    hits, sizes = split.hits, split.sizes()
    try:
        message = hit_pb2.HitBatch()
        batch = _parsed(split.fields, message)
    except Broken as error:
        raise _refused(f"the batch is not the JSON of a HitBatch: {error}", cause=str(error)) from error
    if len(hits) > MAX_HITS or not may_send(message.ingest_key):
        return JsonBatch(batch + _UNREAD_HIT * len(hits), {}, sizes, split.sent)
    reader = _HitReader(split, detailed)
    read = [reader.read(index, hit) for index, hit in enumerate(hits)]
    # The batch's other fields come first, and the hits follow. Concatenated messages of the same type parse as one
    # message.
    return JsonBatch(batch + view_pb2.HitBatchEnvelope(hits=read).SerializeToString(), reader.faults, sizes, split.sent)


def plain_body(body: bytes, encoding: str) -> bytes:
    """Return the decoded body (plain or gzip).

    If the unpacked body is larger than MAX_JSON_BYTES, unpacking stops just after this limit.

    Raises:
        RefusedError: the encoding is not gzip, or the bytes are not valid gzip or are cut short.
    """
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise _refused(f"content-encoding {encoding[:60]!r} is not known: send plain or gzipped JSON", value=encoding)
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacking.decompress(body, MAX_JSON_BYTES + 1)
    except zlib.error as error:
        raise _refused(
            f"the content-encoding is gzip but the body is not ({error}): send gzip, or no content-encoding",
            cause=str(error),
        ) from error
    if not unpacking.eof and len(plain) <= MAX_JSON_BYTES:
        raise _refused("the gzip body is truncated: send the whole body")
    return plain


class _HitReader:
    """Reads the hits of a batch. `faults` describes each hit that does not parse or has an unknown type."""

    def __init__(self, split: SplitBatch, detailed: int) -> None:
        self.faults: dict[int, FoundFault] = {}
        self._split = split
        self._detailed = detailed

    def read(self, index: int, hit: object) -> bytes:
        """Return the bytes of a hit, or undecodable bytes if the hit does not parse."""
        try:
            fields: object = hit
            for fields in readings(hit):
                message = hit_pb2.Hit()
                try:
                    found = _parsed(fields, message)
                except Broken:
                    continue
                self._check_type(index, fields, message)
                return found
            broken = _UNDECODABLE + self._split.sent.hit(index)
            self._find_fault(index, fields, len(broken))
            return broken
        except RecursionError:
            problem = f"hits[{index}] is nested too deeply: the limit is {MAX_NESTING} levels; nest less"
            self.faults[index] = FoundFault(HitReason.DECODE, "", problem, b"")
            return _UNDECODABLE

    def _check_type(self, index: int, fields: dict[str, Any], message: hit_pb2.Hit) -> None:
        """Record an unknown type name, so that the refusal can quote the name.

        An unknown type name parses as HIT_TYPE_UNSPECIFIED.
        """
        sent = fields.get("type")
        if message.type == _UNKNOWN_TYPE and isinstance(sent, str) and len(self.faults) < self._detailed:
            self.faults[index] = FoundFault(HitReason.UNSUPPORTED_TYPE, "type", unknown_type(sent), None)

    def _find_fault(self, index: int, hit: object, size: int) -> None:
        if len(self.faults) < self._detailed and size <= DETAILED_BYTES:
            field, message = wrong_in(hit)
        else:
            field = ""
            message = f"hits[{index}] is not the JSON of a Hit: send the hit in a smaller batch to learn why"
        self.faults[index] = FoundFault(HitReason.DECODE, field, message, _id_and_consent(hit))


def _id_and_consent(hit: object) -> bytes:
    """Return a serialized Hit that contains only the consent and the id. An invalid id is left out."""
    sent = (hit.get("hitId") or hit.get("hit_id")) if isinstance(hit, dict) else None
    found = view_pb2.HitView()
    found.context.consent.analytics = state_of_json(hit)
    if isinstance(sent, str) and len(sent) <= _MAX_ID_CHARS:
        with suppress(ValueError):  # not UTF-8
            found.hit_id = sent
    return found.SerializeToString()


def _parsed(fields: dict[str, Any], message: hit_pb2.Hit | hit_pb2.HitBatch) -> bytes:
    json_format.ParseDict(fields, message, ignore_unknown_fields=True, max_recursion_depth=MAX_NESTING)
    return message.SerializeToString()


def _refused(message: str, **variables: Variable) -> RefusedError:
    return RefusedError(message, field="body", reason=ErrorReason.DECODE, **variables)
