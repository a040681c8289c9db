"""A HitBatch as JSON becomes one as bytes, hit by hit, so that a hit that does not parse costs its neighbours nothing.

Decides only what is JSON of a Hit. A hit that is not becomes bytes that no decoder takes, at its index, followed by its
JSON: admission refuses it there like any hit that does not decode, and keeps what was sent. Unknown fields are ignored,
as Envoy's transcoder does. A quantity of an item may have decimals, which is a field of its own in protobuf.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from collector.admission.envelopes import MAX_HITS
from hitmesh.errors import RefusedError
from hitmesh.hit.v1 import hit_pb2
from hitmesh.log.v1 import view_pb2

# Field number 0 with wire type 7: neither exists.
_UNDECODABLE: Final = b"\x07"
# A hit without fields in a HitBatch: it counts.
_UNREAD_HIT: Final = b"\x32\x00"
_MAX_NESTING: Final = 32
# As the door takes them.
MAX_JSON_BYTES: Final = 2 << 20
_Broken = (json_format.ParseError, DecodeError, ValueError, TypeError, RecursionError)


def batch_of_json(body: bytes, may_send: Callable[[str], bool] = lambda key: True) -> bytes:
    """Returns the bytes of the HitBatch that the JSON stands for.

    Size, count and key come first: hits of a batch that is refused for these are counted, not read.

    Args:
        body: JSON.
        may_send: whether hits under this key are worth reading.

    Raises:
        RefusedError: it is no JSON, no object, its hits are no list, or a field beside them is wrong (DECODE).
    """
    if len(body) > MAX_JSON_BYTES:
        limit = f"the limit is {MAX_JSON_BYTES:,}: send fewer hits in one"
        raise RefusedError(f"the body has {len(body):,} bytes; {limit}", field="body", reason="BATCH_TOO_LARGE")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _refused(f"the body is not JSON ({error}): send a HitBatch as JSON") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("hits", []), list):
        raise _refused('the body is not a HitBatch: send an object like {"ingestKey": "...", "hits": [...]}')
    hits = fields.pop("hits", [])
    try:
        message = hit_pb2.HitBatch()
        batch = _parsed(fields, message)
    except _Broken as error:
        raise _refused(f"the batch is not the JSON of a HitBatch: {error}") from error
    if len(hits) > MAX_HITS or not may_send(message.ingest_key):
        return batch + _UNREAD_HIT * len(hits)
    # Serialised one after the other, repeated and single fields add up to one message.
    return batch + view_pb2.HitBatchEnvelope(hits=[_hit_of_json(hit) for hit in hits]).SerializeToString()


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


def _hit_of_json(hit: object) -> bytes:
    try:
        for fields in _readings(hit):
            try:
                return _parsed(fields, hit_pb2.Hit())
            except _Broken:
                continue
        return _UNDECODABLE + json.dumps(hit, ensure_ascii=True).encode()
    except RecursionError:
        return _UNDECODABLE


def _readings(hit: object) -> Iterator[dict[str, object]]:
    """Yields a hit as it was sent, then with quantities that are not whole as `quantityExact`, where it has any."""
    if not isinstance(hit, dict):
        return
    yield hit
    exact = copy.deepcopy(hit)
    changed = [_made_exact(item) for item in _items(exact)]
    if any(changed):
        yield exact


def _items(hit: dict[str, object]) -> Iterator[dict[str, object]]:
    for payload in ("order", "cart", "productView", "product_view"):
        fields = hit.get(payload)
        if isinstance(fields, dict):
            items = fields.get("items")
            for item in [*(items if isinstance(items, list) else ()), fields.get("item")]:
                if isinstance(item, dict):
                    yield item


def _made_exact(item: dict[str, object]) -> bool:
    quantity = item.get("quantity")
    try:
        number = float(quantity) if isinstance(quantity, float | str) else 0.0
    except ValueError:
        return False
    if number.is_integer() or "quantityExact" in item or "quantity_exact" in item:
        return False
    item["quantityExact"] = number
    del item["quantity"]
    return True


def _parsed(fields: dict[str, object], message: hit_pb2.Hit | hit_pb2.HitBatch) -> bytes:
    json_format.ParseDict(fields, message, ignore_unknown_fields=True, max_recursion_depth=_MAX_NESTING)
    return message.SerializeToString()


def _refused(message: str) -> RefusedError:
    return RefusedError(message, field="body", reason="DECODE")
