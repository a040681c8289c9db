"""Send mended hits through the collector, like any sender, and report each refusal's outcome."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import MAX_BATCH_BYTES, SDK, OutgoingBatch
from hitmesh.client.mending import MAX_HITS, Mended
from hitmesh.client.mesh import Mesh
from hitmesh.client.patience import LASTING, Patience
from hitmesh.client.send_window import Settled
from hitmesh.client.sender import HitSender
from hitmesh.model.refusals import REPLAY_PREFIX

MAX_BATCH_HITS: Final = 200
_ID_BYTES: Final = 16


class Refused(NamedTuple):
    """A replayed hit that the collector refused, and the reason for the refusal."""

    hit_id: str
    reason: str
    field: str
    message: str


@dataclass(slots=True)
class Outcome:
    """The outcome of a replayed refusal: the number of its hits, and the hits that were refused again."""

    name: str
    hits: int
    refused: list[Refused] = field(default_factory=list)

    @property
    def is_accepted(self) -> bool:
        """Whether the collector accepted every hit."""
        return not self.refused


class _Batch(NamedTuple):
    """A batch with an `Outcome` per hit. Hits from the same refusal share an `Outcome`."""

    batch: hit_pb2.HitBatch
    outcomes: list[Outcome]


def replay(
    mesh: Mesh,
    mended: Sequence[Mended],
    *,
    patience: Patience = LASTING,
    on_done: Callable[[int], None] = lambda hits: None,
    validate_only: bool = False,
) -> list[Outcome]:
    """Send the hits of refusals, and return an outcome for each element of `mended`, in the same order.

    Args:
        mesh: connection with an ingest key. If the key does not belong to a hit's site, the collector refuses the hit.
        mended: the hits; every element must have a site.
        patience: when to give up.
        on_done: called with the number of hits that are durable or refused.
        validate_only: store nothing; the outcomes are those that the collector would report.

    Raises:
        SendStopped: no collector accepted the hits. All acknowledged hits are durable. The caller may replay the
            refusals again, because the mesh counts each hit once.
        grpc.RpcError: the mesh refuses the stream.
    """
    outcomes = [Outcome(each.name, len(each.hits)) for each in mended]
    by_site: dict[str, list[tuple[Mended, Outcome]]] = defaultdict(list)
    for each, outcome in zip(mended, outcomes, strict=True):
        by_site[each.site].append((each, outcome))
    done = 0
    for site, of_site in by_site.items():
        for sent in _send(mesh, site, of_site, patience, validate_only=validate_only):
            done += sent
            on_done(done)
    return outcomes


def _send(
    mesh: Mesh, site: str, of_site: list[tuple[Mended, Outcome]], patience: Patience, *, validate_only: bool
) -> Iterator[int]:
    """Send the hits for a site, and yield the number of sent hits after each round of batches."""
    pending: dict[str, _Batch] = {}
    settled: list[Settled[OutgoingBatch]] = []
    lock = threading.Lock()

    def on_settled(found: Settled[OutgoingBatch]) -> None:
        with lock:
            settled.append(found)

    def drained(sender: HitSender) -> int:
        sender.drain()
        with lock:
            for found in settled:
                _note(found, pending[found.batch.submitted_id].outcomes)
            settled.clear()
        sent = sum(len(each.outcomes) for each in pending.values())
        pending.clear()
        return sent

    with HitSender(
        mesh,
        site,
        patience=patience,
        on_settled=on_settled,
        max_refusals=MAX_HITS,
        validate_only=validate_only,
    ) as sender:
        for batch in _batches(of_site):
            if batch.batch.batch_id in pending:
                yield drained(sender)
            pending[batch.batch.batch_id] = batch
            sender.submit(batch.batch)
        yield drained(sender)


def _note(found: Settled[OutgoingBatch], outcomes: list[Outcome]) -> None:
    for issue in found.refusals:
        indexes = [issue.index] if issue.HasField("index") else range(found.batch.hits)
        for index in indexes:
            place = found.batch.place(index)
            reason = collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_")
            hit_id = found.batch.batch.hits[index].hit_id
            outcomes[place].refused.append(Refused(hit_id, reason, issue.field, issue.message))


def _batches(of_site: Iterable[tuple[Mended, Outcome]]) -> Iterator[_Batch]:
    """Yield the hits in batches; the hits of a batch have the same default context."""
    by_context: dict[bytes, list[tuple[Mended, Outcome]]] = defaultdict(list)
    for each, outcome in of_site:
        if each.batch_id:
            batch = hit_pb2.HitBatch(
                batch_id=each.batch_id, sdk=SDK, default_context=each.default_context, hits=each.hits
            )
            yield _Batch(batch, [outcome] * len(each.hits))
        else:
            by_context[each.default_context.SerializeToString(deterministic=True)].append((each, outcome))
    for members in by_context.values():
        yield from _of_one_context(members)


def _of_one_context(members: Iterable[tuple[Mended, Outcome]]) -> Iterator[_Batch]:
    hits: list[hit_pb2.Hit] = []
    outcomes: list[Outcome] = []
    size = 0
    context = hit_pb2.Context()
    for each, outcome in members:
        context = each.default_context
        for hit in each.hits:
            hit_bytes = hit.ByteSize()
            if hits and (len(hits) == MAX_BATCH_HITS or size + hit_bytes > MAX_BATCH_BYTES // 2):
                yield _batch(hits, context, outcomes)
                hits, outcomes, size = [], [], 0
            hits.append(hit)
            outcomes.append(outcome)
            size += hit_bytes
    if hits:
        yield _batch(hits, context, outcomes)


def _batch(hits: list[hit_pb2.Hit], context: hit_pb2.Context, outcomes: list[Outcome]) -> _Batch:
    batch = hit_pb2.HitBatch(sdk=SDK, default_context=context, hits=hits)
    digest = hashlib.blake2b(digest_size=_ID_BYTES, person=b"replay")
    for outcome in outcomes:
        digest.update(outcome.name.encode())
    digest.update(batch.SerializeToString(deterministic=True))
    batch.batch_id = f"{REPLAY_PREFIX}{digest.hexdigest()}"
    return _Batch(batch, outcomes)
