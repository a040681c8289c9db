"""What is told of hits that are not plainly accepted, and what is kept of those that are refused.

Decides that a refused hit leaves its reason and at most 4 KiB of its bytes, and that nothing is left of a visitor who
said no (rule I4); refuses to know why anything was refused.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

import polars as pl

from collector.admission.batches import Batches, Grant, Refusal
from collector.admission.frames import Decoded, original_hits
from collector.admission.hits import Hits, Identified
from collector.admission.verdicts import Issue, Note, Outcome, Verdicts
from hitmesh.columns import REJECTED_COLUMNS

MAX_KEPT_BYTES: Final = 4 << 10
WHOLE_BATCH: Final = -1
_SCHEMA: Final = {**REJECTED_COLUMNS, "frame": pl.UInt32()}


def issues_of(
    batches: Batches, of_batches: Verdicts, hits: Hits, of_hits: Verdicts, identified: Identified
) -> list[Issue]:
    """Returns the issues of batches and hits, by frame and index."""
    issues = [
        _issue(note if note.outcome is Outcome.WARNED else _as_answered(note, batches), note.row, WHOLE_BATCH, "")
        for note in of_batches.notes
    ]
    issues += [
        _issue(note, int(hits.frame[note.row]), int(hits.index[note.row]), _id_of(note.row, identified))
        for note in of_hits.notes
    ]
    return sorted(issues, key=lambda issue: (issue.frame, issue.index))


def rejected_of(
    decoded: Decoded,
    batches: Batches,
    of_batches: Verdicts,
    hits: Hits,
    of_hits: Verdicts,
    identified: Identified,
) -> pl.DataFrame:
    """Returns one row per refused batch or hit; none of what may be sent again."""
    rows = [_of_batch(note, decoded, batches) for note in of_batches.refusals if not _may_retry(note.row, batches)]
    originals: dict[int, list[bytes]] = {}
    for note in of_hits.refusals:
        frame = int(hits.frame[note.row])
        if frame not in originals:
            originals[frame] = original_hits(decoded.frames[frame].batch)
        index = int(hits.index[note.row])
        silent = bool(identified.visitor.denied[note.row])
        rows.append(
            _row(decoded, batches, frame, note)
            | {
                "hit_id": "" if silent else _storable(_id_of(note.row, identified)),
                "batch_index": index,
                "hits": 1,
                "original": b"" if silent else _original(originals[frame], index)[:MAX_KEPT_BYTES],
            }
        )
    return pl.DataFrame(rows, schema=_SCHEMA) if rows else _nothing()


@cache
def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=_SCHEMA)


def _of_batch(note: Note, decoded: Decoded, batches: Batches) -> dict[str, object]:
    fault = decoded.faults.get(note.row)
    held = fault.hits if fault else int(decoded.held[note.row])
    original = decoded.frames[note.row].batch[:MAX_KEPT_BYTES]
    return _row(decoded, batches, note.row, note) | {
        "hit_id": "",
        "batch_index": WHOLE_BATCH,
        "hits": held,
        "original": original,
    }


def _row(decoded: Decoded, batches: Batches, frame: int, note: Note) -> dict[str, object]:
    answer = batches.senders.answers[int(batches.sender[frame])]
    site, key_id = (answer.site.name, answer.key.key_id) if isinstance(answer, Grant) else (answer.site, answer.key_id)
    return {
        "site": site,
        "collect_time": decoded.frames[frame].received_at,
        "reason": note.reason.value,
        "field": note.field,
        "message": note.message,
        "batch_id": "" if batches.batch_id is None else _storable(batches.batch_id.value(frame)),
        "key_id": key_id,
        "frame": frame,
    }


def _original(hits: list[bytes], index: int) -> bytes:
    return hits[index] if index < len(hits) else b""


def _storable(text: str) -> str:
    """U+0000, for which a hit may be refused, is not stored even here."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _as_answered(note: Note, batches: Batches) -> Note:
    """Returns the refusal of a batch, as one that may be sent again where the shell said so."""
    return replace(note, outcome=Outcome.RETRY) if _may_retry(note.row, batches) else note


def _may_retry(frame: int, batches: Batches) -> bool:
    answer = batches.senders.answers[int(batches.sender[frame])]
    return isinstance(answer, Refusal) and answer.retry


def _issue(note: Note, frame: int, index: int, hit_id: str) -> Issue:
    return Issue(frame, index, hit_id, note.outcome.value, note.reason.value, note.field, note.message)


def _id_of(row: int, identified: Identified) -> str:
    return "" if identified.sent_id is None else identified.sent_id.value(row)
