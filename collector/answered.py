"""Remembers the outcomes of a stream's answered batches, so that a repeated batch gets the same answer (rule D4).

Guarantees: an outcome is only returned for a batch with the same identity, which includes the sender's key and the
content. The memory is bounded by a number of batches and by a number of issues and receipts. After a batch was
forgotten, the collector admits a repeat like any other batch; the copies among its hits are recognised by their ids
(rule D1).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final

from collector.admission.verdicts import Issue, Outcome
from collector.batch_identity import BatchIdentity
from collector.outcome import WHOLE_BATCH, BatchOutcome
from hitmesh.model.reasons import HitReason

REMEMBERED_BATCHES: Final = 256
# An issue or receipt takes up to about 600 bytes of memory, so a stream remembers about 6 MB at most.
REMEMBERED_PARTS: Final = 10_000
_REUSED: Final = Issue(
    0,
    WHOLE_BATCH,
    "",
    Outcome.WARNED.value,
    HitReason.ID_COLLISION.value,
    "batch_id",
    "another batch with the same batch_id and other content was sent on this stream: give each batch a new batch_id, "
    "because hits without hit_id get their ids from batch_id",
)


class AnsweredBatches:
    """The outcomes of the last batches of a stream.

    Args:
        most_batches: maximum number of batches.
        most_parts: maximum number of issues and receipts of all batches together.
    """

    def __init__(self, most_batches: int = REMEMBERED_BATCHES, most_parts: int = REMEMBERED_PARTS) -> None:
        self._most_batches = most_batches
        self._most_parts = most_parts
        self._parts = 0
        self._outcomes: OrderedDict[BatchIdentity, BatchOutcome] = OrderedDict()
        self._contents: OrderedDict[bytes, bytes] = OrderedDict()

    def outcome(self, identity: BatchIdentity) -> BatchOutcome | None:
        """Return the outcome for a repeat of a batch, or None if the batch is not remembered."""
        return self._outcomes.get(identity)

    def note(self, identity: BatchIdentity, outcome: BatchOutcome) -> BatchOutcome:
        """Remember a batch's outcome, and return the outcome to report.

        An outcome is remembered if a hit is durable. A batch of which every hit was refused or must be sent again is
        admitted each time, because the cause may be removed meanwhile, for example if a key becomes valid. If the
        sender used the batch id for another content before, the outcome to report has a warning.
        """
        if outcome.retry_s is not None or not outcome.accepted:
            return outcome
        if self._contents.get(identity.name, identity.content) != identity.content:
            outcome = replace(outcome, issues=(*outcome.issues, _REUSED))
        self._contents[identity.name] = identity.content
        self._contents.move_to_end(identity.name)
        if len(self._contents) > self._most_batches:
            self._contents.popitem(last=False)
        self._parts += _parts(outcome) - _parts(self._outcomes.pop(identity, BatchOutcome()))
        self._outcomes[identity] = repeat_of(outcome)
        while len(self._outcomes) > self._most_batches or self._parts > self._most_parts:
            self._parts -= _parts(self._outcomes.popitem(last=False)[1])
        return outcome


def repeat_of(outcome: BatchOutcome) -> BatchOutcome:
    """Return the outcome for a repeat of a batch: the same receipts and issues, but no hit is counted as accepted."""
    return replace(outcome, accepted=0)


def _parts(outcome: BatchOutcome) -> int:
    return len(outcome.issues) + len(outcome.positions)
