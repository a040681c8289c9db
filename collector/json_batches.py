"""A HitBatch as JSON becomes one as bytes, hit by hit, so that a hit that does not parse costs its neighbours nothing.

Decides only what is JSON of a Hit. A hit that is not becomes bytes that no decoder takes, at its index, followed by its
JSON: admission refuses it there like any hit that does not decode, says which field was at fault and keeps what was
sent. Unknown fields are ignored, as Envoy's transcoder does. A quantity of an item may have decimals, which is a field
of its own in protobuf.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from google.protobuf import json_format

from collector.admission.envelopes import MAX_HITS, FoundFault
from collector.admission.verdicts import Reason
from collector.json_faults import MAX_NESTING, Broken, unknown_type, wrong_in
from collector.json_split import SplitBatch, split_batch
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.errors import RefusedError

# Field number 0 with wire type 7: neither exists.
_UNDECODABLE: Final = b"\x07"
# A hit without fields in a HitBatch: it counts.
_UNREAD_HIT: Final = b"\x32\x00"
_UNKNOWN_TYPE: Final = hit_pb2.HIT_TYPE_UNSPECIFIED
_MAX_ID_CHARS: Final = 128
_PAYLOADS: Final = ("order", "cart", "productView", "product_view")
# How many hits of a batch that do not parse are looked at again, and how long their JSON may be for that.
DETAILED_HITS: Final = 8
DETAILED_BYTES: Final = 8 << 10
# As the door takes them.
MAX_JSON_BYTES: Final = 2 << 20


class JsonBatch(NamedTuple):
    """A HitBatch as bytes, and what its bytes do not say of its hits.

    Attributes:
        batch: its bytes.
        faults: what is wrong with hits, by index.
        sizes: how many bytes of JSON were sent for each hit.
    """

    batch: bytes
    faults: dict[int, FoundFault]
    sizes: list[int]


def batch_of_json(
    body: bytes, may_send: Callable[[str], bool] = lambda key: True, *, detailed: int = DETAILED_HITS
) -> JsonBatch:
    """Returns the HitBatch that the JSON stands for.

    Size, count and key come first: hits of a batch that is refused for these are counted, not read.

    Args:
        body: JSON.
        may_send: whether hits under this key are worth reading.
        detailed: of how many hits that are wrong the field at fault is searched for.

    Raises:
        RefusedError: it is no JSON, no object, its hits are no list, or a field beside them is wrong (DECODE).
    """
    if len(body) > MAX_JSON_BYTES:
        limit = f"the limit is {MAX_JSON_BYTES:,}: send fewer hits in one"
        raise RefusedError(f"the body has {len(body):,} bytes; {limit}", field="body", reason="BATCH_TOO_LARGE")
    try:
        split = split_batch(body)
    except (ValueError, RecursionError) as error:
        raise _refused(f"the body is not JSON ({error}): send a HitBatch as JSON") from error
    if split is None:
        raise _refused('the body is not a HitBatch: send an object like {"ingestKey": "...", "hits": [...]}')
    hits, sizes = split.hits, split.sizes()
    try:
        message = hit_pb2.HitBatch()
        batch = _parsed(split.fields, message)
    except Broken as error:
        raise _refused(f"the batch is not the JSON of a HitBatch: {error}") from error
    if len(hits) > MAX_HITS or not may_send(message.ingest_key):
        return JsonBatch(batch + _UNREAD_HIT * len(hits), {}, sizes)
    reader = _HitReader(split, detailed)
    read = [reader.read(index, hit) for index, hit in enumerate(hits)]
    # Serialised one after the other, repeated and single fields add up to one message.
    return JsonBatch(batch + view_pb2.HitBatchEnvelope(hits=read).SerializeToString(), reader.faults, sizes)


def plain_body(body: bytes, encoding: str) -> bytes:
    """Return a body without its content encoding; of gzip no more is unpacked than may be sent.

    Raises:
        RefusedError: the encoding is not gzip, the bytes are not, or they unpack to too much.
    """
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise _refused(f"content-encoding {encoding[:60]!r} is not known: send JSON as it is, or with gzip")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unpacking.decompress(body, MAX_JSON_BYTES + 1)
    except zlib.error as error:
        raise _refused(f"the body is not gzip, as its content-encoding says ({error}): send gzip, or none") from error
    if not unpacking.eof and len(plain) <= MAX_JSON_BYTES:
        raise _refused("the gzip body is cut short: send all of it")
    return plain


class _HitReader:
    """Reads the hits of one batch; `faults` says what is wrong with those that are."""

    def __init__(self, split: SplitBatch, detailed: int) -> None:
        self.faults: dict[int, FoundFault] = {}
        self._split = split
        self._hits = len(split.hits)
        self._detailed = detailed

    def read(self, index: int, hit: object) -> bytes:
        """Returns the bytes of a hit, which do not decode where it does not parse."""
        try:
            fields: object = hit
            for fields in _readings(hit):
                message = hit_pb2.Hit()
                try:
                    found = _parsed(fields, message)
                except Broken:
                    continue
                self._check_type(index, fields, message)
                return found
            broken = _UNDECODABLE + self._split.sent(index)
            self._find_fault(index, fields, len(broken))
            return broken
        except RecursionError:
            said = f"hit {index} of {self._hits} is nested too deep: the limit is {MAX_NESTING} objects in another"
            self.faults[index] = FoundFault(Reason.DECODE, "", said, b"")
            return _UNDECODABLE

    def _check_type(self, index: int, fields: dict[str, Any], message: hit_pb2.Hit) -> None:
        """A name that is none is read as no type, which admission refuses: say there what was sent."""
        sent = fields.get("type")
        if message.type == _UNKNOWN_TYPE and isinstance(sent, str) and len(self.faults) < self._detailed:
            self.faults[index] = FoundFault(Reason.UNSUPPORTED_TYPE, "type", unknown_type(sent), None)

    def _find_fault(self, index: int, hit: object, size: int) -> None:
        if len(self.faults) < self._detailed and size <= DETAILED_BYTES:
            field, said = wrong_in(hit)
        else:
            field = ""
            said = f"hit {index} of {self._hits} is not the JSON of a Hit: send it in a smaller batch to learn why"
        self.faults[index] = FoundFault(Reason.DECODE, field, said, _id_alone(hit))


def _id_alone(hit: object) -> bytes:
    """Returns a hit that has the id only, where it has one that is a text."""
    sent = (hit.get("hitId") or hit.get("hit_id")) if isinstance(hit, dict) else None
    if not isinstance(sent, str) or len(sent) > _MAX_ID_CHARS:
        return b""
    try:
        return hit_pb2.Hit(hit_id=sent).SerializeToString()
    except ValueError:  # no UTF-8
        return b""


def _readings(hit: object) -> Iterator[dict[str, Any]]:
    """Yields a hit as it was sent, then with quantities that are not whole as `quantityExact`, where it has any."""
    if not isinstance(hit, dict):
        return
    yield hit
    exact = {payload: _made_exact(hit[payload]) for payload in _PAYLOADS if payload in hit}
    if any(made is not hit[payload] for payload, made in exact.items()):
        yield {**hit, **exact}


def _made_exact(payload: Any) -> Any:
    """Returns a payload whose quantities that are not whole are `quantityExact`; itself where there are none."""
    if not isinstance(payload, dict):
        return payload
    made = dict(payload)
    if isinstance(payload.get("items"), list):
        items = [_exact_item(item) for item in payload["items"]]
        if any(new is not old for new, old in zip(items, payload["items"], strict=True)):
            made["items"] = items
    if "item" in payload:
        made["item"] = _exact_item(payload["item"])
    return made if any(made[name] is not payload[name] for name in made) else payload


def _exact_item(item: Any) -> Any:
    quantity = item.get("quantity") if isinstance(item, dict) else None
    try:
        number = float(quantity) if isinstance(quantity, float | str) else 0.0
    except ValueError:
        return item
    if number.is_integer() or "quantityExact" in item or "quantity_exact" in item:
        return item
    exact = {name: value for name, value in item.items() if name != "quantity"}
    return {**exact, "quantityExact": number}


def _parsed(fields: dict[str, Any], message: hit_pb2.Hit | hit_pb2.HitBatch) -> bytes:
    json_format.ParseDict(fields, message, ignore_unknown_fields=True, max_recursion_depth=MAX_NESTING)
    return message.SerializeToString()


def _refused(message: str) -> RefusedError:
    return RefusedError(message, field="body", reason="DECODE")
