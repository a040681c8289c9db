"""ListReprocessings: all reprocessings, the newest first, in pages.

Limits: a page has at most 500 reprocessings; a larger page_size is reduced to 500.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.paging import checked_size, last_in, page_token_mismatch, token_of
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.messages import reprocessing_message
from control.rpc.reprocessing.speed import measured_speed
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import Reprocessing

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 500
_LIST: Final = "reprocessings"


def list_reprocessings(
    backend: Backend, caller: Caller | None, request: pb.ListReprocessingsRequest
) -> pb.ListReprocessingsResponse:
    """Return a page of reprocessings.

    Raises:
        RefusedError: page_size is negative, or the token belongs to another list (PAGE_TOKEN_MISMATCH).
    """
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    before = _key_in(request.page_token)
    stored = backend.bookkeeping().reprocessings.all(note_damage)
    following = [each for each in stored if before is None or _key(each) < before]
    page, now, speed = following[:page_size], backend.clock.now(), measured_speed(stored)
    token = token_of(f"{page[-1].created_at}:{page[-1].id}", _LIST) if len(following) > page_size else ""
    return pb.ListReprocessingsResponse(
        reprocessings=[reprocessing_message(each, now, speed) for each in page], next_page_token=token
    )


def _key(reprocessing: Reprocessing) -> tuple[int, str]:
    return reprocessing.created_at, reprocessing.id


def _key_in(token: str) -> tuple[int, str] | None:
    last = last_in(token, _LIST)
    if not last:
        return None
    created_at, _, id_ = last.partition(":")
    if not created_at.isdecimal():
        raise page_token_mismatch()
    return int(created_at), id_
