"""Decides which of a recomputed site-day's two generations becomes current.

All functions are pure. PUBLISH makes `Rebuilt.after` current, and ROLL_BACK makes `Rebuilt.before` current. After the
reprocessing has moved a site-day, the settler may settle the site-day again, for example because late hits arrived. The
site-day's current generation entry shows whether the settler has settled the site-day since the move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.generations import GenerationEntry
from hitmesh.model.logic import logic_named, logic_numbered
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, Work
from processor.rules.carry import Carry
from processor.rules.orders import HitAt
from processor.settle.attempt import Attempt
from processor.settle.settlement import Settled


class Standing(StrEnum):
    """How a site-day's current generation entry relates to the recomputed site-day.

    MOVED: the wanted generation is current.

    AS_LEFT: the generation that the work replaces is current, and nothing has changed since the reprocessing last moved
    the site-day.

    SETTLED_SINCE: the settler has settled the site-day again under the wanted logic and rules. A settlement keeps the
    current generation's logic and rules. Before the settler's settlement, the work must therefore have made the
    wanted generation current.

    STALE: the settler has settled the site-day again, and nothing shows that the work has already made the wanted
    generation current.
    """

    MOVED = "moved"
    AS_LEFT = "as_left"
    SETTLED_SINCE = "settled_since"
    STALE = "stale"


def wanted(rebuilt: Rebuilt, work: Work) -> GenerationVersion:
    """Return the generation that the work makes current."""
    return rebuilt.before if work is Work.ROLL_BACK else rebuilt.after


def is_result_of(reprocessing: Reprocessing, rebuilt: Rebuilt) -> bool:
    """Return whether `Rebuilt.after` was settled under this reprocessing's logic and rules.

    If a rollback recomputes a site-day, `Rebuilt.after` becomes the generation that reports read before the rollback.
    Another reprocessing may have published the generation in `Rebuilt.after`, without the correction of this
    reprocessing.
    """
    before, after = rebuilt.before, rebuilt.after
    is_planned = reprocessing.is_planned(rebuilt.site_day.day)
    is_logic, is_rules = (is_planned and reprocessing.kind is kind for kind in (Kind.LOGIC, Kind.RULES))
    logic = logic_named(reprocessing.logic) if is_logic else logic_numbered(before.logic)
    rules = reprocessing.rules_of(rebuilt.site_day.site) if is_rules else before.rules
    return (logic_numbered(after.logic), after.rules) == (logic, rules)


def standing(rebuilt: Rebuilt, work: Work, current: GenerationEntry) -> Standing:
    """Return how the site-day's current generation entry relates to the recomputed site-day."""
    to = wanted(rebuilt, work)
    if current.generation == to.generation:
        return Standing.MOVED
    if current.sequence == rebuilt.sequence:
        return Standing.AS_LEFT
    other = unwanted(rebuilt, work)
    if (current.logic_version, current.rules_version) == (to.logic, to.rules) != (other.logic, other.rules):
        return Standing.SETTLED_SINCE
    return Standing.STALE


def recomputed_version(attempt: Attempt, settled: Settled) -> GenerationVersion:
    """Return the generation that an attempt has produced."""
    return GenerationVersion(
        attempt.generation,
        attempt.logic.number,
        attempt.read_through,
        settled.ledger,
        settled.carry.to_bytes(),
        attempt.rules_version,
    )


def rebuilt_of(
    attempt: Attempt,
    settled: Settled,
    current: GenerationVersion,
    changes: Mapping[str, Change],
    work: Work,
    reasons: ChangeReasons | None = None,
) -> Rebuilt:
    """Return a recomputed site-day, with the attempt's generation and the current generation.

    If the work is ROLL_BACK, the attempt becomes `Rebuilt.before`, in place of the generation before PUBLISH.

    Args:
        attempt: the attempt that settled the site-day.
        settled: the settlement.
        current: the generation that reports read now.
        changes: each measure's value in the current generation and in the attempt, in this order.
        work: the work for which the site-day is recomputed.
        reasons: the reasons why the attempt differs from the current generation; None if the reasons are not known.
    """
    new, flags = recomputed_version(attempt, settled), settled.orders.changed_flags
    rebuilt = Rebuilt(
        site_day=attempt.site_day,
        before=current,
        after=new,
        sequence=attempt.seen_sequence,
        flags=flags,
        changes=changes,
        disturbed_days=frozenset(attempt.disturbed_by_hits(settled)),
        reasons=reasons,
        not_applicable=settled.not_applicable,
    )
    if work is not Work.ROLL_BACK:
        return rebuilt
    swapped = {name: Change(change.new, change.old) for name, change in changes.items()}
    return replace(
        rebuilt,
        before=new,
        after=current,
        flags=_inverse(flags),
        changes=swapped,
        reasons=reasons.inverse() if reasons else None,
    )


def flags_to_set(rebuilt: Rebuilt, work: Work) -> Mapping[HitAt, bool]:
    """Return the duplicate flags that claims have in the wanted generation (rule D3)."""
    return _inverse(rebuilt.flags) if work is Work.ROLL_BACK else rebuilt.flags


def refuse_fewer_hits(recomputed: Rebuilt, work: Work) -> None:
    """Raise an error if a site-day was recomputed from fewer accepted hits than the current generation has.

    The log only grows, so a recomputation finds fewer hits only if the raw store has lost hits.

    Raises:
        StoreCorrupt: raw hits are missing.
    """
    found, published = wanted(recomputed, work).ledger.accepted, unwanted(recomputed, work).ledger.accepted
    if found < published:
        raise StoreCorrupt(
            f"raw hits are missing, because the recomputation found {found} accepted hits and the published generation "
            f"has {published}; the published numbers stay until the raw hits are restored",
            rows=found,
            expected=published,
        )


def hand_on_the_same(version: GenerationVersion, other: GenerationVersion) -> bool:
    """Return whether the next day's settlement has the same result with both generations.

    If visits are open, both generations must have the same logic, because an open visit continues under the logic of
    the day on which it began. A damaged carry differs from every other carry.
    """
    try:
        carry = Carry.from_bytes(version.carry)
        if version.carry != other.carry and not carry.hands_on_the_same(Carry.from_bytes(other.carry)):
            return False
    except StoreCorrupt:
        return False
    return carry.open_visits.is_empty() or logic_numbered(version.logic) == logic_numbered(other.logic)


def unwanted(rebuilt: Rebuilt, work: Work) -> GenerationVersion:
    """Return the generation that the work replaces by the wanted generation."""
    return rebuilt.after if work is Work.ROLL_BACK else rebuilt.before


def _inverse(flags: Mapping[HitAt, bool]) -> dict[HitAt, bool]:
    return {claim: not flag for claim, flag in flags.items()}
