"""Shows rejected hits as tables or as JSON.

The bytes of a rejected hit may be hostile, so `output` escapes control characters.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.client.edits import Unmendable
from hitmesh.client.mending import kept_of
from hitmesh.client.rejected_hits import short_id
from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.output import echo, print_json, print_table, visible


def print_list(found: Sequence[pb.RejectedHit], output: str, *, more: bool) -> None:
    """Print a line per refusal; `output` is table or json."""
    if output == "json":
        print_json({"rejected": list(map(fields_of, found)), "more": more})
        return
    rows = [
        (
            short_id(each.name),
            short_site_name(each.site) or "-",
            _time(each.collect_time),
            _reason(each),
            each.field,
            _replay(each),
            f"{each.hits:,}",
            f"{each.original_size:,}" if each.HasField("original_size") else "-",
        )
        for each in found
    ]
    headers = ("id", "site", "collected", "reason", "field", "replay", "hits", "bytes")
    caption = "there are more rejected hits: give a larger --limit, or --site, --reason, --since, --until"
    print_table(headers, rows, right_from=6, caption=caption if more else None)


def print_rejected(found: pb.RejectedHit, output: str) -> None:
    """Print a refusal with its kept bytes; `output` is table or json."""
    if output == "json":
        print_json(fields_of(found) | {"kept": _kept(found)})
        return
    echo(visible(short_id(found.name)))
    for name, text in (
        ("site", short_site_name(found.site)),
        ("collected", _time(found.collect_time)),
        ("reason", _reason(found)),
        ("field", found.field),
        ("message", found.message),
        ("hit id", found.hit_id),
        ("hits", f"{found.hits:,}"),
        ("batch id", found.batch_id),
        ("key", found.key_id),
        ("sent as", _form(found)),
        ("replay", _replay(found) + (f": {found.replay_obstacle}" if found.replay_obstacle else "")),
    ):
        if text:
            echo(f"  {name:<9} {visible(text)}")
    kept = _kept(found)
    if kept is not None:
        for line in json.dumps(kept, indent=2, ensure_ascii=False).split("\n"):
            echo(visible(line))
    elif found.original:
        echo(visible(found.original.decode("utf-8", "backslashreplace")))


def fields_of(found: pb.RejectedHit) -> dict[str, Any]:
    """Return a refusal as JSON fields. Scripts depend on the names of the fields."""
    return {
        "id": short_id(found.name),
        "site": short_site_name(found.site) or None,
        "collect_time": _time(found.collect_time),
        "reason": _reason(found),
        "field": found.field or None,
        "message": found.message,
        "hit_id": found.hit_id or None,
        "hits": found.hits,
        "batch_id": found.batch_id or None,
        "batch_index": found.batch_index if found.HasField("batch_index") else None,
        "key_id": found.key_id or None,
        "form": _form(found) or None,
        "original": base64.b64encode(found.original).decode() or None,
        "original_size": found.original_size if found.HasField("original_size") else None,
        "obstacle": found.replay_obstacle or None,
        "replay_time": _time(found.replay_time) if found.HasField("replay_time") else None,
    }


def _kept(found: pb.RejectedHit) -> Any:
    """Return the kept bytes as JSON; None if they do not decode."""
    try:
        kept = kept_of(found)
    except Unmendable:
        return None
    is_batch = found.form in (pb.REJECTED_HIT_FORM_BATCH, pb.REJECTED_HIT_FORM_BATCH_JSON)
    return {**kept.batch, "hits": kept.hits} if is_batch else kept.hits[0]


def _reason(found: pb.RejectedHit) -> str:
    return collector_pb2.Reason.Name(found.reason).removeprefix("REASON_")


def _replay(found: pb.RejectedHit) -> str:
    if found.HasField("replay_time"):
        return f"replayed {_time(found.replay_time)}"
    return "not possible" if found.replay_obstacle else "possible"


def _form(found: pb.RejectedHit) -> str:
    if found.form == pb.REJECTED_HIT_FORM_UNSPECIFIED:
        return ""
    return pb.RejectedHitForm.Name(found.form).removeprefix("REJECTED_HIT_FORM_").lower()


def _time(time: Timestamp) -> str:
    return time.ToJsonString()
