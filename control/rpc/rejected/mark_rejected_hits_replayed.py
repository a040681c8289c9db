"""MarkRejectedHitsReplayed: record that the replays of refusals were accepted.

Limit: 500 names. Only the time of the replay is stored. Ledger and reports treat replayed hits like other accepted
hits.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.rejected.messages import may_read, not_found
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.refusals import key_in
from hitmesh.runtime.rpc_values import timestamp

MAX_NAMES: Final = 500


def mark_rejected_hits_replayed(
    backend: Backend, caller: Caller | None, request: pb.MarkRejectedHitsReplayedRequest
) -> pb.MarkRejectedHitsReplayedResponse:
    """Store the time of the replays.

    If a name does not exist, the call fails, and no refusal is marked.

    Raises:
        RefusedError: there are no names or too many, or a name is invalid.
        NotFound: a refusal does not exist, or its site does not belong to the caller.
    """
    if not 1 <= len(request.names) <= MAX_NAMES:
        raise RefusedError(
            f"names has {len(request.names):,} entries: send 1 to {MAX_NAMES:,}",
            field="names",
            count=len(request.names),
            limit=MAX_NAMES,
        )
    keys = list(map(key_in, request.names))
    now, rejected = backend.clock.now(), backend.bookkeeping().rejected
    for key in keys:
        if not may_read(backend, caller, key.site) or rejected.get(key) is None:
            raise not_found(key)
    for key in keys:
        if not rejected.note_replayed(key, now):  # the refusal expired after the check
            raise not_found(key)
    return pb.MarkRejectedHitsReplayedResponse(replay_time=timestamp(now))
