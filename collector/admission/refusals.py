"""Builds the issues that the sender gets, and the rows in which refused hits are stored.

For a refused hit, the reason and at most 4 KiB of bytes are stored. If the visitor denied consent, neither the hit's id
nor its bytes are stored (rule I4). If a batch is refused as a whole, its first 4 KiB are stored (module `kept`). If a
visitor in the batch may have denied consent, no bytes are stored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from itertools import repeat
from operator import itemgetter
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from collector.admission.batches import Answer, Batches, Grant, Refusal
from collector.admission.frames import Decoded
from collector.admission.hits import Hits, Identified
from collector.admission.kept import NOTHING, Kept, KeptHits, kept_batch
from collector.admission.verdicts import Issue, Notes, Outcome, Verdicts
from hitmesh.access.roles import rights_of
from hitmesh.model.arrays import I64Array
from hitmesh.model.records import Origin
from hitmesh.model.refusals import WHOLE_BATCH
from hitmesh.model.rows.columns import REJECTED_COLUMNS

_SCHEMA: Final = {**REJECTED_COLUMNS, "frame": pl.UInt32()}
_PLACE: Final = itemgetter(0, 1)  # returns an issue's frame and index


def issues_of(
    batches: Batches, of_batches: Verdicts, hits: Hits, of_hits: Verdicts, identified: Identified
) -> list[Issue]:
    """Return all issues about batches and hits, sorted by frame and index."""
    issues = [
        issue._replace(outcome=Outcome.RETRY.value) if _may_retry(issue.frame, issue.reason, batches) else issue
        for issue in _of_batches(of_batches.refusals)
    ]
    issues += _of_batches(of_batches.warnings)
    issues += _of_hits(of_hits.refusals, hits, identified)
    issues += _of_hits(of_hits.warnings, hits, identified)
    return sorted(issues, key=_PLACE)


def _of_batches(notes: Notes) -> list[Issue]:
    return _issues(notes, notes.rows.tolist(), repeat(WHOLE_BATCH), repeat(""))


def _of_hits(notes: Notes, hits: Hits, identified: Identified) -> list[Issue]:
    frames, indexes = hits.frame[notes.rows].tolist(), hits.index[notes.rows].tolist()
    return _issues(notes, frames, indexes, _ids_of(notes.rows, identified))


def _issues(notes: Notes, frames: Iterable[int], indexes: Iterable[int], ids: Iterable[str]) -> list[Issue]:
    causes = (notes.of_causes(values) for values in (notes.outcomes, notes.reasons, notes.fields))
    return list(map(Issue, frames, indexes, ids, *causes, notes.messages, notes.of_causes(notes.variables)))


class Room:
    """Counts the refusals of each site that may still be kept with their bytes.

    To find the bytes of a refusal costs more than all other work on the refusal, so bytes are found only for refusals
    that the sample keeps (collector.refusal_sample).

    Args:
        of_site: returns the number of refusals that may be kept for a site.
    """

    def __init__(self, of_site: Callable[[str], int]) -> None:
        self._of_site = of_site
        self._left: dict[str, int] = {}

    def takes(self, site: str) -> bool:
        """Return whether the site's next refusal is kept with its bytes."""
        left = self._left[site] if site in self._left else self._of_site(site)
        self._left[site] = left - 1
        return left > 0


def rejected_of(
    decoded: Decoded,
    batches: Batches,
    of_batches: Verdicts,
    hits: Hits,
    of_hits: Verdicts,
    identified: Identified,
    put_off: Collection[int] = (),
    room_of: Callable[[str], int] = lambda site: sys.maxsize,
) -> pl.DataFrame:
    """Return one row per refused batch or hit. Batches that the sender may send again get no row.

    Args:
        decoded: result from `decode`.
        batches: the batches of the frames.
        of_batches: verdicts on the batches.
        hits: the hits of the frames.
        of_hits: verdicts on the hits.
        identified: ids and visitors of the hits.
        put_off: frames that must be sent again.
        room_of: returns the number of refusals that may be kept with their bytes for a site. The first rows of a site
            have bytes, all other rows have none.
    """
    whole, single, room = of_batches.refusals, of_hits.refusals, Room(room_of)
    parts = [_rejected_batches(whole, decoded, batches, room)] if len(whole.rows) else []
    if len(single.rows):
        parts.append(_rejected_hits(single, decoded, batches, hits, identified, put_off, room))
    return pl.concat(parts) if parts else _nothing()


@cache
def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema=_SCHEMA)


def _rejected_batches(notes: Notes, decoded: Decoded, batches: Batches, room: Room) -> pl.DataFrame:
    frames = notes.rows.tolist()
    faults = [decoded.faults.get(frame) for frame in frames]
    shared = _rows(notes, notes.rows, batches)
    reasons = notes.of_causes(notes.reasons)
    final = [not _may_retry(*note, batches) for note in zip(frames, reasons, strict=True)]
    places = zip(frames, shared["site"], final, strict=True)
    rows = shared | {
        "hit_id": [""] * len(frames),
        "batch_index": np.full(len(frames), WHOLE_BATCH, dtype=np.int32),
        "hits": [
            fault.hits if fault else int(decoded.held[frame]) for frame, fault in zip(frames, faults, strict=True)
        ],
        **_columns(
            [
                _kept_batch(frame, decoded, batches) if is_final and room.takes(site) else NOTHING
                for frame, site, is_final in places
            ]
        ),
    }
    return pl.DataFrame(rows, schema=_SCHEMA).filter(pl.Series(final, dtype=pl.Boolean()))


def _rejected_hits(
    notes: Notes,
    decoded: Decoded,
    batches: Batches,
    hits: Hits,
    identified: Identified,
    put_off: Collection[int],
    room: Room,
) -> pl.DataFrame:
    frames, indexes = hits.frame[notes.rows], hits.index[notes.rows]
    silent = identified.visitor.denied[notes.rows].tolist()
    ids = _ids_of(notes.rows, identified)
    shared = _rows(notes, frames, batches)
    is_final = ~np.isin(frames, list(put_off))

    @cache
    def kept_of(frame: int) -> KeptHits:
        return KeptHits(decoded.frames[frame], _origin(frame, batches), decoded.sender_of[frame].key)

    places = zip(frames.tolist(), indexes.tolist(), silent, shared["site"], is_final.tolist(), strict=True)
    rows = shared | {
        "hit_id": ["" if denied else _storable(each) for denied, each in zip(silent, ids, strict=True)],
        "batch_index": indexes,
        "hits": np.ones(len(frames), dtype=np.int64),
        **_columns(
            [
                kept_of(frame).hit(index) if final and room.takes(site) and not denied else NOTHING
                for frame, index, denied, site, final in places
            ]
        ),
    }
    return pl.DataFrame(rows, schema=_SCHEMA).filter(pl.Series(is_final))


def _kept_batch(frame: int, decoded: Decoded, batches: Batches) -> Kept:
    answer = batches.senders.answers[int(batches.sender[frame])]
    is_denied_by_default = isinstance(answer, Grant) and not answer.site.consent_by_default
    return kept_batch(
        decoded.frames[frame], decoded.sender_of[frame].key, _origin(frame, batches), is_denied_by_default
    )


def _columns(kept: Sequence[Kept]) -> dict[str, list[bytes]]:
    return {"original": [each.original for each in kept], "origin": [each.origin for each in kept]}


def _origin(frame: int, batches: Batches) -> Origin:
    """Return the origin that is stored with a refused batch or hit."""
    answer = batches.senders.answers[int(batches.sender[frame])]
    edge, sent = batches.edge_time, batches.sent
    has_edge = edge is not None and bool(edge.known[frame])
    return Origin(
        batch_id="" if batches.batch_id is None else batches.batch_id.value(frame),
        batch_index=WHOLE_BATCH,
        key_id=_names_of(answer)[1],
        size=0,
        is_complete=False,
        is_json=False,
        default_context=b"",
        received_at=int(edge.values[frame] if has_edge and edge is not None else batches.collected[frame]),
        sent_at=int(sent.values[frame]) if sent is not None and sent.known[frame] else 0,
        sets_times=isinstance(answer, Grant) and rights_of(answer.key).sets_times,
    )


def _rows(
    notes: Notes, frames: npt.NDArray[np.integer], batches: Batches
) -> dict[str, list[str] | npt.NDArray[np.integer]]:
    """Return the columns that refused batches and refused hits share."""
    names = [_names_of(answer) for answer in batches.senders.answers]
    of_notes = [names[sender] for sender in batches.sender[frames].tolist()]
    distinct, codes = np.unique(frames, return_inverse=True)
    batch_ids = ["" if batches.batch_id is None else _storable(batches.batch_id.value(f)) for f in distinct.tolist()]
    return {
        "site": [site for site, _ in of_notes],
        "collect_time": batches.collected[frames],
        "reason": notes.of_causes(notes.reasons),
        "field": notes.of_causes(notes.fields),
        "message": notes.messages,
        "batch_id": [batch_ids[code] for code in codes.tolist()],
        "key_id": [key_id for _, key_id in of_notes],
        "frame": frames.astype(np.uint32),
    }


def _names_of(answer: Answer) -> tuple[str, str]:
    """Return the site and the key id of a sender."""
    return (answer.site.name, answer.key.key_id) if isinstance(answer, Grant) else (answer.site, answer.key_id)


def _storable(text: str) -> str:
    """Replace each U+0000, because stores reject it.

    The text may come from a hit that was refused because it contains U+0000.
    """
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _may_retry(frame: int, reason: str, batches: Batches) -> bool:
    """Return whether a sender who was refused for this reason may send the batch again."""
    answer = batches.senders.answers[int(batches.sender[frame])]
    return isinstance(answer, Refusal) and answer.retry and answer.reason == reason


def _ids_of(rows: I64Array, identified: Identified) -> list[str]:
    sent = identified.sent_id
    return [""] * len(rows) if sent is None else sent.values.take(pa.array(sent.codes[rows])).to_pylist()
