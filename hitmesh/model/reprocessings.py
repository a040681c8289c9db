"""A reprocessing: site-days that are recomputed, compared, published and, if need be, rolled back (architecture A9).

The control service stores a reprocessing and requests the next work. The settler performs the work and changes the
state. Control service and settler replace the stored value only if its `version` is unchanged since it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.exclusion import AS_COLLECTED
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay

OnDamage = Callable[[StoreCorrupt], None]
"""Called with the error for a stored reprocessing that is damaged and left out."""


class State(StrEnum):
    """The state of a reprocessing.

    PLANNED: stored, nothing computed. RUNNING: the settler performs `work`. DIFF_READY: every site-day is recomputed;
    reports still read the old generations. PUBLISHED: reports read the new generations. ROLLED_BACK: reports read the
    old generations again. CANCELLED, EXPIRED: no report ever read the new generations, and their rows are removed.
    FAILED: the work ended with an error, which `error` describes; the work can be requested again. ERASED: a visitor's
    hits are removed; the old generations are removed too, so there is no rollback.
    """

    PLANNED = "planned"
    RUNNING = "running"
    DIFF_READY = "diff_ready"
    PUBLISHED = "published"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"
    ERASED = "erased"


class Work(StrEnum):
    """The requested work of a RUNNING reprocessing, or the failed work of a FAILED reprocessing."""

    RECOMPUTE = "recompute"
    PUBLISH = "publish"
    ROLL_BACK = "roll_back"
    CANCEL = "cancel"


NEXT_STATE: Final[Mapping[Work, State]] = {
    Work.RECOMPUTE: State.DIFF_READY,
    Work.PUBLISH: State.PUBLISHED,
    Work.ROLL_BACK: State.ROLLED_BACK,
    Work.CANCEL: State.CANCELLED,
}
"""The state after each work is done; `next_state` handles the exception."""


def next_state(kind: Kind, work: Work) -> State:
    """Return the state after a work is done; the publication of an erasure ends in ERASED.

    Example:
        >>> next_state(Kind.ERASE, Work.PUBLISH), next_state(Kind.LOGIC, Work.PUBLISH)
        (<State.ERASED: 'erased'>, <State.PUBLISHED: 'published'>)
    """
    return State.ERASED if kind is Kind.ERASE and work is Work.PUBLISH else NEXT_STATE[work]


REQUESTABLE: Final[Mapping[Work, frozenset[State]]] = {
    Work.RECOMPUTE: frozenset({State.PLANNED, State.FAILED}),
    Work.PUBLISH: frozenset({State.DIFF_READY, State.ROLLED_BACK, State.FAILED}),
    Work.ROLL_BACK: frozenset({State.PUBLISHED, State.FAILED}),
    Work.CANCEL: frozenset({State.PLANNED, State.RUNNING, State.DIFF_READY, State.FAILED}),
}
"""The states in which each work can be requested; in FAILED, only the works of AFTER_FAILURE.

In RUNNING, only RECOMPUTE can be cancelled: the settler's next replacement of the value fails, and the settler begins
CANCEL.
"""

AFTER_FAILURE: Final[Mapping[Work, frozenset[Work]]] = {
    Work.RECOMPUTE: frozenset({Work.RECOMPUTE, Work.CANCEL}),
    Work.PUBLISH: frozenset({Work.PUBLISH, Work.ROLL_BACK}),
    Work.ROLL_BACK: frozenset({Work.ROLL_BACK, Work.PUBLISH}),
    Work.CANCEL: frozenset({Work.CANCEL}),
}
"""The works that can be requested after a work failed: the same work, or the work that undoes the failed work.

Undoing a failed PUBLISH or ROLL_BACK changes only the site-days that the failed work had changed.
"""

OPEN_STATES: Final = frozenset({State.RUNNING, State.DIFF_READY, State.FAILED})
"""States in which a reprocessing excludes every other reprocessing of the same site-days."""


MAX_LOST_NAMED: Final = 100
"""How many site-days with lost hits a repair names."""
MAX_RESTORED_NAMED: Final = 2_000
"""How many restored records a part of a repair names."""


@dataclass(frozen=True, slots=True)
class LostHits:
    """Hits of a site-day that neither the raw store nor the log has.

    Attributes:
        site_day: the site-day.
        hits: how many hits are lost; 0 if no hit of this day is lost, but the recomputation reads damaged hits of a
            neighbouring day.
        kept: whether the repair left the site-day out, because it cannot be recomputed from all its hits.
    """

    site_day: SiteDay
    hits: int
    kept: bool


class RestoredRecord(NamedTuple):
    """A raw record that a repair stored again, and the number of its hits."""

    position: Position
    hits: int


@dataclass(frozen=True, slots=True)
class RawRepair:
    """What a repair found missing in the raw store, and restored from the log.

    Attributes:
        restored_records: records that are stored again.
        restored_hits: the hits in these records, of any sites and days.
        lost_hits: hits that neither the raw store nor the log has.
        lost_site_days: the number of site-days that have lost hits, or that are beside a day of the site with lost
            hits.
        named: the first MAX_LOST_NAMED of these site-days.
        restored: up to MAX_RESTORED_NAMED of the restored records. Two parts may restore the same record, which counts
            once if both parts name the record.
    """

    restored_records: int = 0
    restored_hits: int = 0
    lost_hits: int = 0
    lost_site_days: int = 0
    named: tuple[LostHits, ...] = ()
    restored: tuple[RestoredRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a work that a settler does: the site-days whose sites are in these buckets.

    Attributes:
        work: the work; parts of an earlier work do not count.
        buckets: the buckets of sites (hitmesh.model.site_buckets).
        done: how many site-days are finished.
        is_finished: whether all site-days are finished.
        began_at: when the settler began, in UTC ms; 0 if another settler had done some of the site-days.
        raw_repair: for a repair, what the part found missing in the raw store; otherwise None.
        following: how many of the finished site-days follow the last day of the plan; 0 for works except RECOMPUTE.
        reach_day: the day after the last of these site-days; 0 without such a site-day.
        open_hits: for an erasure, how many hits of the visitor were found on days that are not settled yet.
    """

    work: Work
    buckets: tuple[int, ...]
    done: int = 0
    is_finished: bool = False
    began_at: int = 0
    raw_repair: RawRepair | None = None
    following: int = 0
    reach_day: int = 0
    open_hits: int = 0


@dataclass(frozen=True, slots=True)
class Reprocessing:
    """A stored reprocessing. Times are UTC ms; days are UTC days since 1970-01-01.

    Attributes:
        id: the last part of the resource name `reprocessings/{id}`.
        kind: why history is recomputed.
        logic: the name of the version of the logic.
        sites: full names of the sites.
        first_day: the first day.
        end_day: the day after the last day.
        created_at: when the plan was stored.
        updated_at: when the value was last replaced.
        state: see State.
        work: the requested or failed work; None in all states except RUNNING and FAILED.
        site_days: the number of site-days of the plan.
        hits: the number of hits of the plan.
        done: how many site-days the work in hand has finished.
        error: in state FAILED, why the work failed; in PUBLISHED and ROLLED_BACK, why the settler did not begin the
            last requested work; otherwise empty.
        recompute_ms: how long RECOMPUTE took, in ms, including pauses; 0 until RECOMPUTE has finished; also 0 if
            RECOMPUTE was interrupted.
        visitors: with kind ERASE, the digests of the visitor (hitmesh.model.erasures), never the visitor id or key; the
            visitor's hits before `created_at` are erased.
        receipt: with kind ERASE, a hitmesh.model.erasures.Receipt as text; empty before PUBLISH.
        version: counts the replacements; `Reprocessings.replace` compares it.
        parts: the parts of the work in hand; no two have a bucket in common.
        raw_repair: for a repair, what it found missing in the raw store so far; otherwise None.
        rules: for kind RULES, the version of the exclusion rules of each site in `sites`; empty for other kinds.
        not_applicable: for kind RULES, how many hits of the plan are of days before their site stored truncated IP
            addresses, although the site has rules of kind NETWORK.
        published_at: when the first PUBLISH began, in UTC ms, later than that of every reprocessing published before; 0
            until then, and in a value that an earlier program stored (hitmesh.model.publication_order).
        begun_at: when the settler began the newest work that neither continues nor undoes a failed work, in UTC ms; 0
            until then.
        following: how many settled site-days after the last day RECOMPUTE recomputed too, because the visits that are
            handed to them change (rule L4). They keep their logic and rules, and are published with the plan.
        reach_day: the day after the last of these site-days; 0 without such a site-day.
        open_hits: with kind ERASE, how many hits of the visitor RECOMPUTE found on days that are not settled yet.
    """

    id: str
    kind: Kind
    logic: str
    sites: tuple[str, ...]
    first_day: int
    end_day: int
    created_at: int
    updated_at: int
    state: State = State.PLANNED
    work: Work | None = None
    site_days: int = 0
    hits: int = 0
    done: int = 0
    error: str = ""
    recompute_ms: int = 0
    version: int = 1
    parts: tuple[Part, ...] = ()
    visitors: tuple[str, ...] = ()
    receipt: str = ""
    raw_repair: RawRepair | None = None
    rules: tuple[int, ...] = ()
    not_applicable: int = 0
    published_at: int = 0
    begun_at: int = 0
    following: int = 0
    reach_day: int = 0
    open_hits: int = 0

    @property
    def reach(self) -> int:
        """The day after the last day that the reprocessing changes.

        Example:
            >>> sites = ("merchants/demo/sites/shop",)
            >>> Reprocessing("r1", Kind.LOGIC, "v1", sites, 0, 7, 0, 0, following=1, reach_day=8).reach
            8
        """
        return max(self.end_day, self.reach_day)

    def is_planned(self, day: int) -> bool:
        """Return whether a day belongs to the plan; other days only follow, and keep their logic and rules.

        Example:
            >>> planned = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
            >>> planned.is_planned(6), planned.is_planned(7)
            (True, False)
        """
        return self.first_day <= day < self.end_day

    def rules_of(self, site: str) -> int:
        """Return the version of a site's exclusion rules.

        Example:
            >>> sites = ("merchants/demo/sites/a", "merchants/demo/sites/b")
            >>> Reprocessing("r1", Kind.RULES, "v1", sites, 0, 7, 0, 0, rules=(3, 5)).rules_of(sites[1])
            5
        """
        return self.rules[self.sites.index(site)]

    @property
    def marks(self) -> tuple[ErasureMark, ...]:
        """The erasure marks of this reprocessing; none unless the kind is ERASE.

        Example:
            >>> Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0).marks
            ()
        """
        return tuple(
            ErasureMark(site, digest, self.created_at, self.created_at, self.id)
            for site in self.sites
            for digest in self.visitors
        )

    def overlaps(self, other: Reprocessing) -> bool:
        """Return whether the two have a site-day in common, with the days that follow their plans.

        Example:
            >>> first = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
            >>> second = Reprocessing("r2", Kind.REPAIR, "v1", ("merchants/demo/sites/shop",), 6, 9, 0, 0)
            >>> first.overlaps(second)
            True
        """
        days = self.first_day < other.reach and other.first_day < self.reach
        return days and not set(self.sites).isdisjoint(other.sites)

    def touches(self, other: Reprocessing) -> bool:
        """Return whether the two have a site-day in common, or one's days begin on the day after the other's.

        A recomputation can change the visits that are handed to the day after.

        Example:
            >>> first = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
            >>> second = Reprocessing("r2", Kind.REPAIR, "v1", ("merchants/demo/sites/shop",), 7, 9, 0, 0)
            >>> first.overlaps(second), first.touches(second)
            (False, True)
        """
        days = self.first_day <= other.reach and other.first_day <= self.reach
        return days and not set(self.sites).isdisjoint(other.sites)


@dataclass(frozen=True, slots=True)
class GenerationVersion:
    """A generation of a site-day, with everything that `Generations` needs to make the generation current again.

    Attributes:
        generation: the number; STREAM_GENERATION for the stream's rows.
        logic: the number of the version of the logic.
        read_through: the scan saw every record below these offsets.
        ledger: the ledger entry.
        carry: the carry for the next day.
        rules: the version of the site's exclusion rules; AS_COLLECTED if the collector decided each hit.
    """

    generation: int
    logic: int
    read_through: Mapping[PartitionId, int]
    ledger: LedgerEntry
    carry: bytes = field(repr=False)
    rules: int = AS_COLLECTED


@dataclass(frozen=True, slots=True)
class Change:
    """A measure of a site-day in the old and in the new generation; sums over the hits that reports count."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A recomputed site-day of a reprocessing.

    Attributes:
        site_day: the site-day.
        before: the generation that reports read before.
        after: the new generation.
        sequence: the sequence number of the site-day's entry when this reprocessing last read or changed the entry. A
            different current sequence number shows that another settlement or reprocessing published since.
        flags: changed duplicate flags of claims (rule D3), set when the new generation is published.
        changes: each measure with its old and new sum; measures that are 0 in both are absent.
        disturbed_days: the site's other days that must be settled again when either generation becomes current, apart
            from the day after, which depends on the carries (rule L4).
        reasons: why the numbers differ; None if the numbers are equal, or if the reasons are not known.
        not_applicable: how many hits lack the network address that rules of the new generation compare.
    """

    site_day: SiteDay
    before: GenerationVersion
    after: GenerationVersion
    sequence: int
    flags: Mapping[tuple[Position, int], bool]
    changes: Mapping[str, Change]
    disturbed_days: frozenset[int] = frozenset()
    reasons: ChangeReasons | None = None
    not_applicable: int = 0
