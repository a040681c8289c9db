"""ListRetiredGenerations: list replaced generations whose rows are not removed yet.

Limits: a page has the generations of at most 500 site-days; a larger page_size is reduced to 500. The last page is
empty, because a store does not always know whether another site-day follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from control.backend import Backend
from control.rpc.paging import checked_size, last_in, page_token_mismatch, token_of
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.names import name_of
from control.rpc.reprocessing.scope import existing_site
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import retired_pb2 as pb
from hitmesh.model.days import day_message
from hitmesh.model.errors import RefusedError
from hitmesh.model.history import RetiredGeneration
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.reprocessings import Rebuilt, Reprocessing, State
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Reprocessings
from hitmesh.runtime.rpc_values import timestamp

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 500
_LIST: Final = "retired generations"
_UNDOABLE: Final = frozenset({State.RUNNING, State.DIFF_READY, State.PUBLISHED, State.ROLLED_BACK, State.FAILED})
"""States in which a reprocessing can make one of its generations current."""


def list_retired_generations(
    backend: Backend, caller: Caller | None, request: pb.ListRetiredGenerationsRequest
) -> pb.ListRetiredGenerationsResponse:
    """Return a page of the retired generations.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the site is not a site name, page_size is negative, or the token belongs to another list
            (PAGE_TOKEN_MISMATCH).
    """
    if request.site and not SITE_PATTERN.fullmatch(request.site):
        raise RefusedError(
            f"site {request.site[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}, where "
            "both names have only a-z, 0-9 and '-', or leave site out for all sites",
            field="site",
            value=request.site,
        )
    if request.site:
        existing_site(backend.directory, request.site, "site")
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    of_list = f"{_LIST} {request.site}"
    books = backend.bookkeeping()
    found = books.generations.retired(request.site or None, _after(request.page_token, of_list), page_size)
    last = found[-1].site_day if found else None
    holders = _holders(books.reprocessings, found)
    now = backend.clock.now()
    return pb.ListRetiredGenerationsResponse(
        retired_generations=[_message(each, holders.get((each.site_day, each.generation)), now) for each in found],
        next_page_token="" if last is None else token_of(f"{last.site}:{last.day}", of_list),
    )


def _after(token: str, of_list: str) -> SiteDay | None:
    site, _, day = last_in(token, of_list).rpartition(":")
    if not token:
        return None
    if not SITE_PATTERN.fullmatch(site) or not day.removeprefix("-").isdecimal() or len(day) > 9:
        raise page_token_mismatch()
    return SiteDay(site, int(day))


def _holders(stored: Reprocessings, found: Sequence[RetiredGeneration]) -> dict[tuple[SiteDay, int], str]:
    """Return, for each generation, the newest reprocessing that can make the generation current."""
    site_days = sorted({each.site_day for each in found})
    holders: dict[tuple[SiteDay, int], str] = {}
    for reprocessing in reversed(stored.all(note_damage) if found else ()):
        if reprocessing.state not in _UNDOABLE:
            continue
        for site_day in site_days:
            rebuilt = _rebuilt(stored, reprocessing, site_day)
            if rebuilt is not None:
                holders[site_day, rebuilt.before.generation] = reprocessing.id
                holders[site_day, rebuilt.after.generation] = reprocessing.id
    return holders


def _rebuilt(stored: Reprocessings, reprocessing: Reprocessing, site_day: SiteDay) -> Rebuilt | None:
    """Return a reprocessing's result for a site-day, or None if the reprocessing did not recompute the site-day."""
    site, day = site_day
    if site not in reprocessing.sites or not reprocessing.first_day <= day < reprocessing.reach:
        return None
    following = stored.rebuilt(reprocessing.id, SiteDay(site, day - 1), 1)
    return following[0] if following and following[0].site_day == site_day else None


def _message(retired: RetiredGeneration, holder: str | None, now: int) -> pb.RetiredGeneration:
    is_due = retired.kept_until < now
    reason = pb.RETIRED_REASON_DATA_VERSION if holder is None else pb.RETIRED_REASON_REPROCESSING
    return pb.RetiredGeneration(
        site=retired.site_day.site,
        utc_date=day_message(retired.site_day.day),
        generation=retired.generation,
        replace_time=None if retired.replaced_at is None else timestamp(retired.replaced_at),
        keep_until_time=timestamp(retired.kept_until),
        reason=pb.RETIRED_REASON_DUE if is_due else reason,
        reprocessing="" if is_due or holder is None else name_of(holder),
        rows=retired.rows,
        size_bytes=retired.size,
    )
