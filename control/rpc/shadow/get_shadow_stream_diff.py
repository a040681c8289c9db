"""GetShadowStreamDiff: return the differences between shadow stream and live stream, per metric and UTC day.

Limits: at most 1,000 sites. The sums come from the series, because both streams write the series. The sums include
excluded hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from control.backend import Backend, Bookkeeping
from control.rpc.reprocessing.difference_messages import metric_messages
from control.rpc.reprocessing.differences import Sums
from control.rpc.reprocessing.scope import existing_site
from control.rpc.shadow.requests import refuse_state, shadow_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.cells import utc_day_of
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.days import day_message
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.streams import Shadow, StreamTable

MAX_SITES: Final = 1_000


@dataclass(slots=True)
class _Found:
    """The compared site-days and each metric's sums, in total and for each UTC day with a difference."""

    site_days: int = 0
    settled: int = 0
    changed: dict[int, int] = field(default_factory=dict)
    total: dict[str, Sums] = field(default_factory=dict)
    days: dict[int, dict[str, Sums]] = field(default_factory=dict)

    def add(self, day: int, old: Mapping[str, int], new: Mapping[str, int]) -> None:
        """Add a site-day."""
        self.site_days += 1
        self.changed[day] = self.changed.get(day, 0) + (old != new)
        for name in old.keys() | new.keys():
            values = old.get(name, 0), new.get(name, 0)
            self.total[name] = self.total.get(name, Sums()).plus(*values)
            of_day = self.days.setdefault(day, {})
            of_day[name] = of_day.get(name, Sums()).plus(*values)


def get_shadow_stream_diff(
    backend: Backend, caller: Caller | None, request: pb.GetShadowStreamDiffRequest, checkpoint: Checkpoint
) -> pb.GetShadowStreamDiffResponse:
    """Return the differences.

    Raises:
        NotFound: a site does not exist.
        RefusedError: a name is not a site name, there are too many sites, or there is no shadow stream (WRONG_STATE).
        Abandoned: the caller left or the deadline passed.
    """
    books = backend.bookkeeping()
    table = books.streams.read()
    if table.shadow is None:
        raise refuse_state(table, "diff", "start a shadow stream first")
    sites, is_truncated = _sites(backend, request.sites)
    end_day = int(utc_day_of(backend.clock.now() + MAX_LEAD_MS)) + 1
    found = _Found()
    for site in sites:
        checkpoint()
        _compare(books, table, table.shadow, site, end_day, found)
    return pb.GetShadowStreamDiffResponse(
        shadow_stream=shadow_message(books, table),
        site_days=found.site_days,
        changed_site_days=sum(found.changed.values()),
        metrics=metric_messages(found.total),
        days=[
            pb.ShadowDayDifference(
                utc_date=day_message(day),
                changed_site_days=count,
                metrics=metric_messages({name: sums for name, sums in found.days[day].items() if sums.absolute}),
            )
            for day, count in sorted(found.changed.items())
            if count
        ],
        settled_site_days=found.settled,
        truncated=is_truncated,
    )


def _sites(backend: Backend, names: Sequence[str]) -> tuple[list[str], bool]:
    """Return the sites to compare, and whether there are more sites."""
    if len(names) > MAX_SITES:
        raise RefusedError(
            f"sites has {len(names):,} names: give at most {MAX_SITES:,}",
            field="sites",
            reason=ErrorReason.TOO_MANY_SITES,
            count=len(names),
            limit=MAX_SITES,
        )
    for at, name in enumerate(names):
        if not SITE_PATTERN.fullmatch(name):
            raise RefusedError(
                f"sites[{at}] {name[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}",
                field=f"sites[{at}]",
                value=name,
            )
    if names:
        named = (existing_site(backend.directory, name, f"sites[{at}]").name for at, name in enumerate(names))
        return list(dict.fromkeys(named)), False
    found = [site.name for site in backend.directory.sites(None, "", MAX_SITES + 1)]
    return found[:MAX_SITES], len(found) > MAX_SITES


def _compare(books: Bookkeeping, table: StreamTable, shadow: Shadow, site: str, end_day: int, found: _Found) -> None:
    """Compare the days without a settled generation.

    `end_day` is the day after the last day that can have hits.
    """
    # imported at the first call, because only calls of GetShadowStreamDiff need the libraries for rows
    from control.rpc.shadow.sums_by_day import sums_by_day

    first_day, generations = shadow.stream.first_day, (table.live.generation, shadow.stream.generation)
    settled = books.generations.current(site, first_day, end_day)
    old, new = (sums_by_day(books.series.read(site, first_day, end_day, generation)) for generation in generations)
    found.settled += len(settled)
    for day in sorted(old.keys() | new.keys()):
        if day not in settled:
            found.add(day, old.get(day, {}), new.get(day, {}))
