"""Build reprocessings, and site-days that a reprocessing has recomputed."""

from __future__ import annotations

from collections.abc import Mapping

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from tests.support.settled_rows import DAY, MIDNIGHT, SITE

UTC_DAY = MIDNIGHT // DAY


def a_reprocessing(
    id_: str = "r1",
    *,
    state: State = State.PLANNED,
    work: Work | None = None,
    sites: tuple[str, ...] = (SITE,),
    days: tuple[int, int] = (UTC_DAY, UTC_DAY + 1),
    **fields: object,
) -> Reprocessing:
    """Return a reprocessing under the current logic that was created at time 0. `days` is the range [first, end)."""
    values: dict[str, object] = {"kind": Kind.LOGIC, "logic": "v1", "created_at": 0, "updated_at": 0} | fields
    return Reprocessing(
        id_,
        sites=sites,
        first_day=days[0],
        end_day=days[1],
        state=state,
        work=work,
        **values,  # type: ignore[arg-type]  # fields of Reprocessing
    )


def a_ledger(accepted: int, duplicate: int = 0) -> LedgerEntry:
    """Return a site-day's ledger entry without excluded hits."""
    return LedgerEntry(accepted, accepted - duplicate, duplicate, 0, sum64=accepted * 10, xor64=accepted)


def a_rebuilt(
    changes: Mapping[str, tuple[int, int]],
    day: int = UTC_DAY,
    site: str = SITE,
    *,
    ledgers: tuple[LedgerEntry, LedgerEntry] = (a_ledger(3), a_ledger(3)),
    generations: tuple[int, int] = (1, 2),
    sequence: int = 1,
    reasons: ChangeReasons | None = None,
    disturbed: frozenset[int] = frozenset(),
) -> Rebuilt:
    """Return a recomputed site-day. `changes` maps each measure that changed to its old and new value."""
    before, after = (
        GenerationVersion(generation, 2, {}, ledger, b"")
        for generation, ledger in zip(generations, ledgers, strict=True)
    )
    return Rebuilt(
        SiteDay(site, day),
        before,
        after,
        sequence,
        flags={},
        changes={measure: Change(old, new) for measure, (old, new) in changes.items()},
        disturbed_days=disturbed,
        reasons=reasons,
    )
