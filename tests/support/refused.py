"""Let the collector refuse hits, and return the refused hits as the control service returns them."""

from __future__ import annotations

import json
from typing import Any

from collector.admission import Admitted
from collector.json_batches import batch_of_json
from control.rpc.rejected.messages import rejected_message
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.rows.columns import pack_record
from processor.stream.intake import take_in
from tests.support.admitting import EDGE, NOW, SERVER, a_batch, a_frame, admitted


def refused_of(
    *hits: hit_pb2.Hit, key: str = SERVER, batch_id: str = "b1", sent: int | None = None, **fields: Any
) -> pb.RejectedHit:
    """Admit a batch that has one refused hit, and return this hit."""
    (refusal,) = refusals_in(admitted(a_batch(*hits, key=key, batch_id=batch_id, sent=sent, **fields)))
    return refusal


def refused_json(*hits: dict[str, Any], key: str = SERVER, client_ip: str = "") -> list[pb.RejectedHit]:
    """Admit a JSON batch, and return its refused hits."""
    batch = {"ingestKey": key, "batchId": "b1", "hits": list(hits), "edge": {"clientIp": client_ip}}
    read = batch_of_json(json.dumps(batch).encode(), lambda known: known in (SERVER, EDGE))
    frame = a_frame(read.batch)
    return refusals_in(admitted(type(frame)(frame.batch, "", "", NOW, read.faults, read.sent)))


def refusals_in(found: Admitted) -> list[pb.RejectedHit]:
    """Return the refused hits as the control service lists them, once log and processor have handled these hits."""
    rows = found.rejected.drop("frame")
    record = Record(RecordKind.REJECTED, pack_record(rows), rows.height, max_collect_time=NOW)
    intake = take_in([LoggedRecord(Position("rejected.1", 0, 0), NOW, record)])
    return [rejected_message(hit) for hit in intake.rejected]
