"""Cuts hits into batches within the collector's limits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from hitmesh import __version__
from hitmesh.api.hit.v1 import hit_pb2

MAX_BATCH_HITS: Final = 500
# A batch may have 1 MiB; the difference is room for the envelope.
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
    """Yield the hits in order, in batches named `prefix-1`, `prefix-2`, …: equal hits give equal batches.

    A single hit beyond `max_bytes` becomes a batch by itself, which the collector refuses.
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
    """A batch for the send window, with its size."""

    batch: hit_pb2.HitBatch
    size: int

    @property
    def hits(self) -> int:
        """Number of hits."""
        return len(self.batch.hits)

    def part(self, indexes: Sequence[int], attempt: int) -> OutgoingBatch:
        """Return a batch of the hits at these indexes."""
        return outgoing(part_of(self.batch, indexes, attempt))


def outgoing(batch: hit_pb2.HitBatch) -> OutgoingBatch:
    """Return a batch for the send window."""
    return OutgoingBatch(batch, batch.ByteSize())


def part_of(batch: hit_pb2.HitBatch, indexes: Iterable[int], attempt: int) -> hit_pb2.HitBatch:
    """Return a batch with the hits at these indexes; the resend attempt is appended to the batch id."""
    part = hit_pb2.HitBatch()
    part.CopyFrom(batch)
    del part.hits[:]
    part.hits.extend(batch.hits[index] for index in indexes)
    part.batch_id = f"{batch.batch_id}.{attempt}"
    return part


def _empty(prefix: str, number: int) -> hit_pb2.HitBatch:
    return hit_pb2.HitBatch(batch_id=f"{prefix}-{number}", sdk=SDK)
