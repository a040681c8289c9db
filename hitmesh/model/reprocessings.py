"""A reprocessing: site-days are recomputed, compared, published and, if necessary, rolled back (architecture A9).

The control service stores a reprocessing, and later requests work on the reprocessing (RECOMPUTE, PUBLISH, …). The
settler performs the requested work and changes the reprocessing's state. Control service and settler replace the stored
value only if its `version` has not changed since the value was read.
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
"""A function that is called with the error if a stored reprocessing is damaged and therefore left out."""


class State(StrEnum):
    """The state of a reprocessing.

    PLANNED: the plan is stored, and nothing is computed yet. RUNNING: the settler performs `work`. DIFF_READY: every
    site-day is recomputed; reports still read the old generations. PUBLISHED: reports read the new generations.
    ROLLED_BACK: reports read the old generations again. CANCELLED, EXPIRED: no report ever read the new generations,
    and their rows are removed.
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
"""The state of a reprocessing after each kind of work, except after the publication of an erasure."""


def next_state(kind: Kind, work: Work) -> State:
    """Return a reprocessing's state after the given work. After the publication of an erasure, the state is ERASED.

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
"""The states in which each work can be requested.

In state FAILED, only the work that AFTER_FAILURE lists can be requested. In state RUNNING, only RECOMPUTE can be
cancelled. If CANCEL is requested while the settler works, the settler's next attempt to replace the stored value fails.
The settler then begins the work CANCEL.
"""

AFTER_FAILURE: Final[Mapping[Work, frozenset[Work]]] = {
    Work.RECOMPUTE: frozenset({Work.RECOMPUTE, Work.CANCEL}),
    Work.PUBLISH: frozenset({Work.PUBLISH, Work.ROLL_BACK}),
    Work.ROLL_BACK: frozenset({Work.ROLL_BACK, Work.PUBLISH}),
    Work.CANCEL: frozenset({Work.CANCEL}),
}
"""The works that can be requested after a work failed: the failed work, and the work that undoes the failed work.

Undoing a failed PUBLISH or ROLL_BACK changes only the site-days that the failed work had changed.
"""

OPEN_STATES: Final = frozenset({State.RUNNING, State.DIFF_READY, State.FAILED})
"""The states in which no other reprocessing of the same site-days is accepted."""


MAX_LOST_NAMED: Final = 100
"""Maximum number of site-days with lost hits that a repair lists."""
MAX_RESTORED_NAMED: Final = 2_000
"""Maximum number of restored records that a part of a repair lists."""


@dataclass(frozen=True, slots=True)
class LostHits:
    """Hits of a site-day that neither the raw store nor the log has.

    Attributes:
        site_day: the site-day.
        hits: the number of lost hits; 0 if no hit of this day is lost, but the recomputation reads damaged hits of a
            neighbouring day.
        kept: true if the site-day keeps its numbers because it cannot be recomputed without the lost hits.
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
    """The result of a repair: hits that were missing in the raw store, and records that were restored from the log.

    Attributes:
        restored_records: the number of records that were stored again.
        restored_hits: the number of hits in these records, over all sites and days.
        lost_hits: the number of hits that neither the raw store nor the log has.
        lost_site_days: the number of site-days that lost hits, or whose previous or next day lost hits.
        named: the first MAX_LOST_NAMED site-days with lost hits.
        restored: up to MAX_RESTORED_NAMED of the restored records. If two parts list the same record, the record counts
            once.
    """

    restored_records: int = 0
    restored_hits: int = 0
    lost_hits: int = 0
    lost_site_days: int = 0
    named: tuple[LostHits, ...] = ()
    restored: tuple[RestoredRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a reprocessing's work that one settler performs: all site-days whose sites are in certain buckets.

    Attributes:
        work: the work to which the part belongs; parts of earlier works are ignored.
        buckets: the buckets of sites (hitmesh.model.site_buckets).
        done: the number of finished site-days.
        is_finished: whether all site-days are finished.
        began_at: the time at which the settler began, in UTC ms; 0 if another settler finished some of the site-days
            before.
        raw_repair: for a repair, the hits that this part found missing in the raw store; otherwise None.
        following: for RECOMPUTE, the number of finished site-days after the last day of the plan; 0 for other works.
        reach_day: the day after the last site-day that `following` counts; 0 if `following` is 0.
        open_hits: for an erasure, the number of the visitor's hits that were found on days that are not settled yet.
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
        id: the last part in the resource name `reprocessings/{id}`.
        kind: the reason why history is recomputed.
        logic: the name of the logic version.
        sites: the sites' full names.
        first_day: the first day.
        end_day: the day after the last day.
        created_at: the time at which the plan was stored.
        updated_at: the time at which the value was last replaced.
        state: see State.
        work: the requested work in state RUNNING, or the failed work in FAILED; None in other states.
        site_days: the number of site-days in the plan.
        hits: the number of hits in the plan.
        done: the number of site-days that the current work has finished.
        error: in state FAILED, the reason why the work failed; in PUBLISHED and ROLLED_BACK, the reason why the settler
            did not begin the last requested work; otherwise empty.
        recompute_ms: the duration of RECOMPUTE, in ms, including pauses; 0 if RECOMPUTE has not finished or was
            interrupted.
        visitors: for kind ERASE, the visitor's digests (hitmesh.model.erasures), never the visitor id or key. The
            visitor's hits before `created_at` are erased.
        receipt: for kind ERASE, a hitmesh.model.erasures.Receipt as text; empty before PUBLISH.
        version: the number of replacements of the stored value; `Reprocessings.replace` fails if the version has
            changed.
        parts: the current work's parts; each bucket is in at most one part.
        raw_repair: for a repair, the hits missing in the raw store that were found so far; otherwise None.
        rules: for kind RULES, the version of the exclusion rules of each site in `sites`; empty for other kinds.
        not_applicable: for kind RULES, the number of hits in the plan that cannot be compared with the site's NETWORK
            rules, because the site stored no truncated IP addresses on the days of these hits.
        published_at: the time at which the first PUBLISH began, in UTC ms; greater than the `published_at` of any
            reprocessing that was published earlier (hitmesh.model.publication_order). 0 before PUBLISH, and in values
            stored by earlier programs.
        begun_at: the time at which the settler began the last work, in UTC ms; 0 before the first work. A work that
            continues or undoes a failed work does not change `begun_at`.
        following: the number of settled site-days after the plan's last day that RECOMPUTE also recomputed, because
            visits that continue into these site-days change (rule L4). These site-days keep their logic and rules, and
            are published with the plan.
        reach_day: the day after the last site-day that `following` counts; 0 if `following` is 0.
        open_hits: for kind ERASE, the number of the visitor's hits that RECOMPUTE found on days that are not settled
            yet.
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
        """Return whether a day belongs to the plan; days after the plan keep their logic and rules.

        Example:
            >>> planned = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
            >>> planned.is_planned(6), planned.is_planned(7)
            (True, False)
        """
        return self.first_day <= day < self.end_day

    def rules_of(self, site: str) -> int:
        """Return the version of a site's exclusion rules that the reprocessing applies.

        Example:
            >>> sites = ("merchants/demo/sites/a", "merchants/demo/sites/b")
            >>> Reprocessing("r1", Kind.RULES, "v1", sites, 0, 7, 0, 0, rules=(3, 5)).rules_of(sites[1])
            5
        """
        return self.rules[self.sites.index(site)]

    @property
    def marks(self) -> tuple[ErasureMark, ...]:
        """The erasure marks of this reprocessing; empty unless the kind is ERASE.

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
        """Return whether the two reprocessings share a site-day, including recomputed days after the end of a plan.

        Example:
            >>> first = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
            >>> second = Reprocessing("r2", Kind.REPAIR, "v1", ("merchants/demo/sites/shop",), 6, 9, 0, 0)
            >>> first.overlaps(second)
            True
        """
        days = self.first_day < other.reach and other.first_day < self.reach
        return days and not set(self.sites).isdisjoint(other.sites)

    def touches(self, other: Reprocessing) -> bool:
        """Return whether the reprocessings share a site-day, or have adjacent days of the same site.

        Adjacent days matter because a recomputation can change visits that continue into the next day.

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
        logic: the number of the logic version.
        read_through: for each partition, the offset below which the scan saw every record.
        ledger: the ledger entry.
        carry: summaries of the visits that are open at the day's end.
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
    """The old and the new sum of a site-day's measure, over the hits that reports count."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A recomputed site-day of a reprocessing.

    Attributes:
        site_day: the site-day.
        before: the generation that reports read before the publication.
        after: the new generation.
        sequence: the sequence number of the site-day's entry when this reprocessing last read or changed the entry. If
            the current sequence number differs, another settlement or reprocessing has published since.
        flags: the duplicate flags of claims that change (rule D3); the flags are set when the new generation is
            published.
        changes: each measure with its old and new sum; measures that are 0 in both are absent.
        disturbed_days: the site's other days that must be settled again when either generation becomes current. The
            next day is not included, because it depends on the carries (rule L4).
        reasons: the reasons why the numbers differ; None if the numbers are equal, or if the reasons are not known.
        not_applicable: the number of hits without a network address, if rules of the new generation compare network
            addresses.
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
