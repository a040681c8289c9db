"""The identity of a batch on a stream: the sender's key, the batch id and the content (rule D4).

Guarantees: two batches with the same identity have equal keys, batch ids and contents. The content is every byte of the
HitBatch except `batch_id`, `ingest_key` and `client_send_time`. A retry must change `client_send_time`, so
`client_send_time` is not part of the content.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from collector.admission.envelopes import MAX_BATCH_BYTES
from hitmesh.internal.log.v1 import view_pb2

_DIGEST_BYTES: Final = 32
# Without this secret of the process, a sender cannot compute digests (rule D0).
_SECRET: Final = secrets.token_bytes(32)


class BatchIdentity(NamedTuple):
    """The identity of a batch, as keyed digests.

    Attributes:
        name: digest of the sender's key and the batch id.
        content: digest of the content.
    """

    name: bytes
    content: bytes


def identity_of(batch: bytes, default_key: str) -> BatchIdentity | None:
    """Return the identity of an unparsed HitBatch.

    Return None if the batch has no id, does not decode, or exceeds the size limit. The collector then admits the batch
    each time that the batch is sent.

    Args:
        batch: bytes of the HitBatch.
        default_key: key of the stream, which applies if the batch has no key.
    """
    if len(batch) > MAX_BATCH_BYTES:
        return None
    try:
        view = view_pb2.HitBatchIdentity.FromString(batch)
    except DecodeError:
        return None
    if not view.batch_id:
        return None
    key, batch_id = (view.ingest_key or default_key).encode(), view.batch_id.encode()
    for field in ("batch_id", "ingest_key", "client_send_time"):
        view.ClearField(field)
    name = len(key).to_bytes(4, "big") + key + batch_id
    return BatchIdentity(_digest(name), _digest(view.SerializeToString()))


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_DIGEST_BYTES, key=_SECRET).digest()
