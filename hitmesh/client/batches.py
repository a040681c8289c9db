"""Cuts hits into batches within the collector's limits. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from hitmesh import __version__
from hitmesh.api.hit.v1 import hit_pb2

MAX_BATCH_HITS: Final = 500
# The collector accepts batches of up to 1 MiB; 4 KiB are reserved for the batch's other fields.
MAX_BATCH_BYTES: Final = (1 << 20) - 4_096
_FIELD_OVERHEAD_BYTES: Final = 6
SDK: Final = hit_pb2.Sdk(name="hitmesh-python", version=__version__)


def batches(
    hits: Iterable[hit_pb2.Hit],
    batch_id_prefix: str,
    *,
    max_hits: int = MAX_BATCH_HITS,
    max_bytes: int = MAX_BATCH_BYTES,
) -> Iterator[hit_pb2.HitBatch]:
    """Yield the hits in order, in batches with the ids `prefix-1`, `prefix-2` and so on.

    Equal hits give equal batches.

    A hit of more than `max_bytes` bytes becomes a separate batch, which the collector refuses.
    """
    batch = _empty(batch_id_prefix, 1)
    number, size = 1, 0
    for hit in hits:
        hit_bytes = hit.ByteSize() + _FIELD_OVERHEAD_BYTES
        if batch.hits and (len(batch.hits) == max_hits or size + hit_bytes > max_bytes):
            yield batch
            number, size = number + 1, 0
            batch = _empty(batch_id_prefix, number)
        batch.hits.append(hit)
        size += hit_bytes
    if batch.hits:
        yield batch


class OutgoingBatch(NamedTuple):
    """A batch for the send window, with its size in bytes.

    A batch is either a batch that the caller submitted or a part of a submitted batch. For a part, `whole_id` is the
    submitted batch's id, and `places` has each hit's index in the submitted batch. For a submitted batch, `whole_id`
    and `places` are empty.
    """

    batch: hit_pb2.HitBatch
    size: int
    whole_id: str = ""
    places: tuple[int, ...] = ()

    @property
    def hits(self) -> int:
        """Number of hits."""
        return len(self.batch.hits)

    def part(self, indexes: Sequence[int], attempt: int) -> OutgoingBatch:
        """Return a batch with the hits at these indexes; `attempt` is appended to the batch id."""
        part = outgoing(part_of(self.batch, indexes, attempt))
        return part._replace(whole_id=self.submitted_id, places=tuple(map(self.place, indexes)))

    @property
    def submitted_id(self) -> str:
        """Id of the submitted batch."""
        return self.whole_id or self.batch.batch_id

    def place(self, index: int) -> int:
        """Convert a hit's index in this batch to the same hit's index in the submitted batch."""
        return self.places[index] if self.places else index


def outgoing(batch: hit_pb2.HitBatch) -> OutgoingBatch:
    """Return the batch with its size, as the send window needs it."""
    return OutgoingBatch(batch, batch.ByteSize())


def part_of(batch: hit_pb2.HitBatch, indexes: Iterable[int], attempt: int) -> hit_pb2.HitBatch:
    """Return a batch with the hits at these indexes, and with the attempt number at the end of the batch id."""
    part = hit_pb2.HitBatch()
    part.CopyFrom(batch)
    del part.hits[:]
    part.hits.extend(batch.hits[index] for index in indexes)
    part.batch_id = f"{batch.batch_id}.{attempt}"
    return part


def _empty(prefix: str, number: int) -> hit_pb2.HitBatch:
    return hit_pb2.HitBatch(batch_id=f"{prefix}-{number}", sdk=SDK)
