"""Decode the stored bytes of rejected hits, mend the hits, and prepare the replay. Performs no I/O.

The stored bytes may be hostile, so this module limits size and nesting as the collector does. A mended hit has the
following properties:

- Ids. A hit that was sent with an id keeps the id. A hit that was sent without an id gets the id that the collector
  would derive from key, batch and index (rule D1). If the sender also retries the batch, the retried hit and the
  replayed hit therefore have the same id and are counted once. If the hit and the batch have no id, the hit's id is
  derived from the refusal's name. If the refusal is replayed twice, the hits of both replays therefore have the same id
  and are counted once.
- Times. `true_time` is the event time that rules T1 and T2 gave the refused hit. If the sender sent no times,
  `true_time` is the receive time. `client_create_time` is set to the same time as `true_time`. If the key may not set
  times, the collector ignores `true_time` and uses `client_create_time`.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.edits import Edits, Unmendable
from hitmesh.model.json_hits import MAX_NESTING, readings
from hitmesh.model.keys import hash64
from hitmesh.model.limits import MAX_SKEW_MS

MAX_HITS: Final = 2_000
"""Maximum number of hits in a batch, as in the collector."""
_END_MS: Final = 7_258_118_400_000  # 2200-01-01
_BROKEN: Final = (json_format.ParseError, DecodeError, ValueError, TypeError, RecursionError, OverflowError)
_JSON_FORMS: Final = (pb.REJECTED_HIT_FORM_HIT_JSON, pb.REJECTED_HIT_FORM_BATCH_JSON)
_BATCH_FORMS: Final = (pb.REJECTED_HIT_FORM_BATCH, pb.REJECTED_HIT_FORM_BATCH_JSON)


class Kept(NamedTuple):
    """The stored bytes of a refusal, decoded as JSON.

    Attributes:
        batch: the fields of a batch other than its hits; empty for a single hit.
        hits: the hits as JSON, which may be invalid.
    """

    batch: dict[str, Any]
    hits: list[Any]


class Mended(NamedTuple):
    """The hits of a refusal, as a replay sends them.

    Attributes:
        name: name of the refusal.
        site: full name of the hits' site; "" if unknown.
        hits: the hits.
        default_context: default context of the hits.
        batch_id: the id of a separate batch for these hits, from which the collector derives the hits' ids; "" if the
            hits may be sent in any batch.
    """

    name: str
    site: str
    hits: tuple[hit_pb2.Hit, ...]
    default_context: hit_pb2.Context
    batch_id: str


def kept_of(rejected: pb.RejectedHit) -> Kept:
    """Return the stored bytes of a refusal as JSON.

    Raises:
        Unmendable: the refusal's bytes are not stored, or the bytes do not decode.
    """
    try:
        return _kept(rejected)
    except _BROKEN as error:
        raise Unmendable("the kept bytes do not decode as hits: send the hits again from their source") from error


def mended(rejected: pb.RejectedHit, edits: Edits) -> Mended:
    """Return a refusal's hits with the edits applied, ready for a replay.

    Raises:
        Unmendable: the refusal cannot be replayed, the bytes do not decode, or an edited hit is not a Hit.
    """
    if rejected.replay_obstacle:
        raise Unmendable(rejected.replay_obstacle)
    kept = kept_of(rejected)
    if not 1 <= len(kept.hits) <= MAX_HITS:
        raise Unmendable(
            f"the batch has {len(kept.hits):,} hits: send batches of 1 to {MAX_HITS:,} hits from their source"
        )
    envelope, context = _envelope_of(rejected, kept)
    batch_id = _batch_id_to_keep(rejected, envelope)
    hits = [_hit(index, hit, edits) for index, hit in enumerate(kept.hits)]
    for index, hit in enumerate(hits):
        _set_time(hit, rejected, envelope, is_set=edits.sets("trueTime"))
        if not hit.hit_id and not batch_id:
            hit.hit_id = _derived_id(rejected, index)
    has_ids = all(hit.hit_id for hit in hits)
    return Mended(rejected.name, rejected.site, tuple(hits), context, "" if has_ids else batch_id)


def _kept(rejected: pb.RejectedHit) -> Kept:
    form, original = rejected.form, rejected.original
    if form == pb.REJECTED_HIT_FORM_UNSPECIFIED:
        raise Unmendable(
            rejected.replay_obstacle or "the bytes of this refusal are not kept: send the hits again from their source"
        )
    if form in _JSON_FORMS:
        fields = _json_of(original)
        if form == pb.REJECTED_HIT_FORM_HIT_JSON:
            return Kept({}, [fields])
        hits = fields.pop("hits", [])
        return Kept(fields, hits if isinstance(hits, list) else [])
    if form == pb.REJECTED_HIT_FORM_HIT:
        return Kept({}, [_fields_of(hit_pb2.Hit.FromString(original))])
    batch = hit_pb2.HitBatch.FromString(original)
    hits = [_fields_of(hit) for hit in batch.hits]
    del batch.hits[:]
    return Kept(_fields_of(batch), hits)


def _json_of(text: bytes) -> dict[str, Any]:
    fields = json.loads(text.decode("utf-8", "surrogatepass"), parse_constant=str)
    if not isinstance(fields, dict) or _depth(fields) > MAX_NESTING + 2:  # in a batch, a hit is nested two levels deep
        raise ValueError("not an object, or nested too deeply")
    return fields


def _depth(value: Any) -> int:
    """Return the nesting depth of a JSON value, without recursion, because the value may be hostile."""
    depth, level = 0, [value]
    while level:
        containers = [each for each in level if isinstance(each, dict | list)]
        depth += bool(containers)
        level = [child for each in containers for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _fields_of(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = json_format.MessageToDict(message)
    return fields


def _envelope_of(rejected: pb.RejectedHit, kept: Kept) -> tuple[hit_pb2.HitBatch, hit_pb2.Context]:
    """Return the batch without hits, and the hits' default context."""
    try:
        if rejected.form in _BATCH_FORMS:
            envelope = hit_pb2.HitBatch()
            _parse(kept.batch, envelope)
            return envelope, envelope.default_context
        envelope = hit_pb2.HitBatch(batch_id=rejected.batch_id)
        if rejected.HasField("client_send_time"):
            envelope.client_send_time.CopyFrom(rejected.client_send_time)
        return envelope, hit_pb2.Context.FromString(rejected.default_context)
    except _BROKEN as error:
        raise Unmendable("the batch's fields do not decode: send the hits again from their source") from error


def _hit(index: int, fields: object, edits: Edits) -> hit_pb2.Hit:
    if not isinstance(fields, dict):
        raise Unmendable(f"hits[{index}] is not a JSON object: send the hits again from their source")
    edited = edits.applied(fields)
    problem = ""
    for reading in readings(edited):
        hit = hit_pb2.Hit()
        try:
            _parse(reading, hit)
        except _BROKEN as error:
            problem = problem or str(error)[:200]
            continue
        return hit
    raise Unmendable(
        f"hits[{index}] is not the JSON of a Hit ({problem}): mend the field with --set, --rename or --drop"
    )


def _parse(fields: dict[str, Any], message: Message) -> None:
    json_format.ParseDict(fields, message, ignore_unknown_fields=True, max_recursion_depth=MAX_NESTING)
    message.SerializeToString()  # raises an error if a text is not UTF-8


def _batch_id_to_keep(rejected: pb.RejectedHit, envelope: hit_pb2.HitBatch) -> str:
    """Return the batch id if the collector must derive the hits' ids, or "" if this module can derive the ids.

    A derived id depends on the ingest key. If the batch was sent with an unknown key, the collector derives the ids
    from the replay's key.
    """
    return envelope.batch_id if rejected.form in _BATCH_FORMS and not rejected.key_id else ""


def _derived_id(rejected: pb.RejectedHit, index: int) -> str:
    place = rejected.batch_index if rejected.HasField("batch_index") else index
    if rejected.batch_id and rejected.key_id:
        return f"{hash64(rejected.key_id, rejected.batch_id, str(place)):016x}"
    return f"{hash64('rejected', rejected.name, str(index)):016x}"


def _set_time(hit: hit_pb2.Hit, rejected: pb.RejectedHit, envelope: hit_pb2.HitBatch, *, is_set: bool) -> None:
    """Set the times of a hit to the event time that the hit had when it was refused."""
    received, collected = _ms(rejected.receive_time), _ms(rejected.collect_time)
    # If the collector did not know the hit's key, the replay's key decides whether the hit may set times.
    is_trusted = rejected.key_sets_times or not rejected.key_id
    event_time = received
    if hit.HasField("true_time") and (is_trusted or is_set):
        event_time = _ms(hit.true_time)
    elif hit.HasField("client_create_time") and envelope.HasField("client_send_time"):
        elapsed = _ms(envelope.client_send_time) - _ms(hit.client_create_time)
        event_time = received - elapsed if elapsed >= 0 else received
    if event_time > collected + MAX_SKEW_MS and not is_set:
        event_time = collected
    if not 0 <= event_time < _END_MS:
        raise Unmendable("the event time is before 1970 or after 2199: set trueTime")
    hit.true_time.FromMilliseconds(event_time)
    hit.client_create_time.FromMilliseconds(event_time)


def _ms(time: Timestamp) -> int:
    return time.seconds * 1_000 + time.nanos // 1_000_000
