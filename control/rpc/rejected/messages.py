"""Convert refused hits to messages."""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from hitmesh.access.callers import Caller
from hitmesh.access.checks import owns
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.errors import NotFound
from hitmesh.model.records import Origin, RejectedHit
from hitmesh.model.refusals import WHOLE_BATCH, RefusalKey, key_of, name_of, obstacle_to_replay
from hitmesh.runtime.rpc_values import timestamp

_PREFIX: Final = "REASON_"
# The first part of a key says whether a whole batch was refused. The second part of a key says whether the bytes are
# JSON.
_FORMS: Final = {
    (False, False): pb.REJECTED_HIT_FORM_HIT,
    (False, True): pb.REJECTED_HIT_FORM_HIT_JSON,
    (True, False): pb.REJECTED_HIT_FORM_BATCH,
    (True, True): pb.REJECTED_HIT_FORM_BATCH_JSON,
}


def may_read(backend: Backend, caller: Caller | None, site: str) -> bool:
    """Return whether a caller may read the refused hits of a site; an empty name stands for hits without a site.

    For every caller, a deleted site does not exist.
    """
    return owns(caller, site) and (not site or backend.directory.site(site) is not None)


def rejected_message(hit: RejectedHit) -> pb.RejectedHit:
    """Return a refusal as a message.

    If a refusal has no origin, the message leaves out the refusal's bytes, because the bytes may contain an ingest key.
    An earlier version stored whole batches with their ingest keys, but without an origin.
    """
    message = pb.RejectedHit(
        name=name_of(key_of(hit)),
        site=hit.site,
        collect_time=timestamp(hit.collect_time),
        reason=reason_number(hit.reason),
        field=hit.field,
        message=hit.message,
        hit_id=hit.hit_id,
        hits=hit.hits,
        replay_obstacle=obstacle_to_replay(hit),
        replay_time=timestamp(hit.replayed_at) if hit.replayed_at else None,
    )
    if hit.origin is not None and hit.original:
        _add_origin(message, hit.original, hit.origin)
    return message


def _add_origin(message: pb.RejectedHit, original: bytes, origin: Origin) -> None:
    is_whole = origin.batch_index == WHOLE_BATCH
    message.original = original[1:] if origin.is_json else original
    message.form = _FORMS[is_whole, origin.is_json]
    message.original_size = origin.size
    message.batch_id = origin.batch_id
    message.key_id = origin.key_id
    message.default_context = origin.default_context
    message.receive_time.CopyFrom(timestamp(origin.received_at))
    message.key_sets_times = origin.sets_times
    if not is_whole:
        message.batch_index = origin.batch_index
    if origin.sent_at:
        message.client_send_time.CopyFrom(timestamp(origin.sent_at))


def reason_number(name: str) -> collector_pb2.Reason.ValueType:
    """Return the enum value of a reason; REASON_UNSPECIFIED for a name that a newer version stored."""
    numbers = collector_pb2.Reason.DESCRIPTOR.values_by_name
    found = numbers.get(f"{_PREFIX}{name}")
    return collector_pb2.Reason.ValueType(found.number) if found else collector_pb2.REASON_UNSPECIFIED


def reason_name(number: collector_pb2.Reason.ValueType) -> str:
    """Return a reason's name without prefix; empty for REASON_UNSPECIFIED."""
    return collector_pb2.Reason.Name(number).removeprefix(_PREFIX) if number else ""


def not_found(key: RefusalKey) -> NotFound:
    """Return the error for a refusal that does not exist."""
    name = name_of(key)
    return NotFound(
        f"{name[:160]!r} does not exist: list the rejected hits with `hitmesh rejected list` (ListRejectedHits)",
        field="name",
        value=name,
    )
