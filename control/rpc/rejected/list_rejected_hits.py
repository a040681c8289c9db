"""ListRejectedHits: list refusals by site, reason and time, in pages.

Limits: a page has at most 200 refusals, and a call reads at most 10,000 refusals. If 10,000 refusals do not fill the
page, the call returns a short page with a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from control.backend import Backend
from control.rpc.paging import checked_size, last_in, page_token_mismatch, token_of
from control.rpc.rejected.messages import reason_name, rejected_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import site_not_found
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.records import RejectedHit
from hitmesh.model.refusals import PREFIX, RefusalKey, RefusalRange, key_in, key_of, name_of
from hitmesh.ports import RejectedStore
from hitmesh.runtime.rpc_values import milliseconds

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 200
MAX_READ: Final = 10_000
MAX_CHUNKS: Final = 200
"""Maximum number of store reads in a call; each read returns at most `CHUNK` refusals."""
CHUNK: Final = 200
_END_MS: Final = 7_258_118_400_000  # 2200-01-01


def list_rejected_hits(
    backend: Backend,
    caller: Caller | None,
    request: pb.ListRejectedHitsRequest,
    checkpoint: Checkpoint,
) -> pb.ListRejectedHitsResponse:
    """Return a page of refusals.

    Raises:
        NotFound: the site does not exist.
        RefusedError: a value is invalid, or the token belongs to another list (PAGE_TOKEN_MISMATCH).
        Abandoned: the caller left or the deadline passed. The checkpoint is called between reads.
    """
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    wanted, reason = _range_of(request), _reason_of(request)
    if request.site and backend.directory.site(request.site) is None:
        raise site_not_found(request.site, "site")
    of_list = f"rejected {wanted} {reason}"
    after = _key_in_token(request.page_token, of_list)

    def is_listed(hit: RejectedHit) -> bool:
        return reason in ("", hit.reason) and (not hit.site or backend.directory.site(hit.site) is not None)

    page, following = _page(backend.bookkeeping().rejected, wanted, is_listed, after, page_size, checkpoint)
    token = token_of(name_of(following).removeprefix(PREFIX), of_list) if following is not None else ""
    return pb.ListRejectedHitsResponse(rejected_hits=map(rejected_message, page), next_page_token=token)


def _page(
    rejected: RejectedStore,
    wanted: RefusalRange,
    is_listed: Callable[[RejectedHit], bool],
    after: RefusalKey | None,
    size: int,
    checkpoint: Checkpoint,
) -> tuple[list[RejectedHit], RefusalKey | None]:
    """Return at most `size` refusals that are listed, and the key after which the next page begins."""
    found: list[RejectedHit] = []
    read = 0
    for _ in range(MAX_CHUNKS):
        chunk = rejected.page(wanted, after, CHUNK)
        read += len(chunk.hits)
        for hit in chunk.hits:
            if is_listed(hit):
                found.append(hit)
                if len(found) == size:
                    is_last = hit is chunk.hits[-1] and chunk.after is None
                    return found, None if is_last else key_of(hit)
        after = chunk.after
        if after is None or read >= MAX_READ:
            break
        checkpoint()
    return found, after


def _range_of(request: pb.ListRejectedHitsRequest) -> RefusalRange:
    if request.site and request.without_site:
        raise RefusedError(
            "site and without_site are set: send only the site, or only without_site",
            field="without_site",
            value=request.site,
        )
    if request.site and not SITE_PATTERN.fullmatch(request.site):
        raise RefusedError(
            f"site {request.site[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}",
            field="site",
            value=request.site,
        )
    since = milliseconds(request.start_time, "start_time") if request.HasField("start_time") else 0
    until = milliseconds(request.end_time, "end_time") if request.HasField("end_time") else _END_MS
    if not 0 <= since < until <= _END_MS:
        raise RefusedError(
            f"start_time {since} ms is not before end_time {until} ms: send times from 1970 to 2199, in order",
            field="start_time",
            first=since,
            last=until,
        )
    return RefusalRange("" if request.without_site else request.site or None, since, until)


def _reason_of(request: pb.ListRejectedHitsRequest) -> str:
    if request.reason not in collector_pb2.Reason.values():
        raise RefusedError(
            f"reason {request.reason} is not known: send a value of hitmesh.api.collector.v1.Reason",
            field="reason",
            value=request.reason,
        )
    return reason_name(request.reason)


def _key_in_token(token: str, of_list: str) -> RefusalKey | None:
    last = last_in(token, of_list)
    if not last:
        return None
    try:
        return key_in(f"{PREFIX}{last}")
    except RefusedError as error:
        raise page_token_mismatch() from error
