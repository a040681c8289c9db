"""Store on Cassandra which generation of each site-day is current (architecture A9).

A publication is atomic, because each site-day has a single row. The row holds the entry, the ledger entry and the
replaced generations. The row refers to the carry (the visits that are open at the end of the day) by attempt number. A
publication writes the row and the site's highest sequence in one batch. The batch takes effect only if the row's
version has not changed since the row was read. A publication stores the carry before the row, under the attempt's
number. A restore stores the carry under a new attempt number, so the current entry's carry is never stored under a
superseded generation's number. The module hitmesh.adapters.shared.publication decides which generations are superseded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from hitmesh.adapters.cassandra.carries import Carries
from hitmesh.adapters.cassandra.generation_rows import (
    ENTRY,
    SiteDayRow,
    columns_of,
    history_with,
    limited,
    past_of,
    retired_of,
    row_of,
)
from hitmesh.adapters.cassandra.replaced import ReplacedSiteDays
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.publication import (
    is_restored,
    published_generation,
    refuse_changed_site,
    replaced_by_restore,
    restored_entry,
    superseded_by,
)
from hitmesh.model.errors import StaleGeneration, StoreCorrupt, Unavailable
from hitmesh.model.generations import FIRST_STREAM, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import PastEntry, RetiredGeneration
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import SETTLED_CURE
from hitmesh.ports.settling import SUPERSEDED_PAGE

_MAX_TRIES: Final = 20
_SELECT: Final = f"SELECT day, last_sequence, {', '.join(ENTRY)} FROM generations"


class _StoredCarry(NamedTuple):
    number: int
    pieces: int


class CassandraGenerations:
    """Implements the port Generations. Thread-safe; settlers of different sites never conflict.

    Args:
        session: a session on the keyspace.
        clock_s: returns the seconds since 1970, the minimum of the next generation number.
    """

    def __init__(self, session: CassandraSession, clock_s: Callable[[], float] = time.time) -> None:
        self._session = session
        self._clock_s = clock_s
        self._carries = Carries(session)
        self._replaced = ReplacedSiteDays(session)

    def begin(self, site_day: SiteDay) -> int:
        """Return a new generation number; no number is returned twice for the same site-day.

        The number is at least the time in seconds since 1970, so that no number is returned twice even after the
        keyspace was restored from a backup. Druid may still have the rows of numbers that were returned after the
        backup (decision 0132).

        Raises:
            Unavailable: Cassandra is unavailable, or every try failed because another process changed the site-day
                first.
        """
        for _ in range(_MAX_TRIES):
            there = self._row(site_day)
            number = max(there.attempts + 1, int(self._clock_s()))
            if self._changed(site_day, there, replace(there, attempts=number, waiting=there.waiting | {number})):
                return number
        raise _busy(site_day)

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day that has an entry."""
        rows = self._of_site(site, first_day, end_day)
        return {row.day: row.entry for row in rows if row.entry is not None}

    def history(self, site: str, first_day: int, end_day: int) -> Mapping[int, Sequence[PastEntry]]:
        """Return the entries of each day that has an entry."""
        rows = self._of_site(site, first_day, end_day)
        return {row.day: past_of(row) for row in rows if row.entry is not None}

    def publish(
        self,
        site_day: SiteDay,
        generation: int,
        *,
        logic_version: int,
        read_through: Mapping[PartitionId, int],
        seen_sequence: int,
        ledger: LedgerEntry,
        carry: bytes,
        now: int,
        drift: Drift | None = None,
        keep_until: int = 0,
        seen_site_sequence: int | None = None,
        rules_version: int = 0,
        streams: Sequence[int] = FIRST_STREAM,
    ) -> GenerationEntry:
        """Make a generation current, with its ledger entry and open visits (carry).

        If `drift.confirmed` is true, the stream's generation becomes current; otherwise, the attempt's generation does.

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the attempt is no longer pending;
                nothing was written.
            ValueError: `drift.confirmed` is true, but an earlier publication superseded the stream's rows.
            Unavailable: the outcome is unknown; `current` tells whether the generation was published.
        """
        there, chunks = self._row(site_day), None
        for _ in range(_MAX_TRIES):
            if _published_by(there, generation) and there.entry is not None and there.entry.sequence > seen_sequence:
                return there.entry
            _refuse_stale(site_day, there, generation, seen_sequence)
            refuse_changed_site(site_day.site, there.last_sequence, seen_site_sequence)
            if chunks is None:
                chunks = self._carries.put(site_day, generation, carry)
            before = there.entry.generation if there.entry else None
            published = published_generation(generation, before, drift, streams)
            stale = {waiting for waiting in there.waiting if waiting < generation}
            gone = superseded_by(published, before, drift, streams)
            if stale or gone:
                self._replaced.note(site_day)
            entry = GenerationEntry(
                published, there.last_sequence + 1, logic_version, dict(read_through), now, rules_version
            )
            after = replace(
                there,
                entry=entry,
                ledger=ledger,
                carry=generation,
                carry_chunks=chunks,
                drift=there.drift or drift,
                waiting=there.waiting - stale - {generation},
                replaced=limited(
                    {
                        **{old: at for old, at in there.replaced.items() if old != published},
                        **dict.fromkeys(stale, now),
                        **dict.fromkeys(gone, max(now, keep_until)),
                    },
                    now,
                ),
                history=history_with(there, entry),
            )
            if self._changed(site_day, there, after, sequence=entry.sequence):
                self._replaced.look_again(site_day)
                self._carries.remove(site_day, there.carry)
                return entry
            there = self._row(site_day)
        raise _busy(site_day)

    def restore(
        self,
        site_day: SiteDay,
        version: GenerationVersion,
        *,
        seen_sequence: int,
        now: int,
        keep_until: int,
    ) -> GenerationEntry:
        """Make a replaced generation current again, with its ledger entry and open visits (carry).

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the generation is no longer kept;
                nothing was written.
            Unavailable: the outcome is unknown; a repeated call returns the entry if the generation was restored.
        """
        carry: _StoredCarry | None = None
        for _ in range(_MAX_TRIES):
            there = self._row(site_day)
            if there.entry and self._has_restored(site_day, there, version, seen_sequence):
                return there.entry
            kept_until = there.replaced.get(version.generation)
            replaced = replaced_by_restore(site_day, version.generation, seen_sequence, there.entry, kept_until, now)
            if carry is None:
                carry = self._store_carry(site_day, version.carry)
                continue
            self._replaced.note(site_day)
            sequence = there.last_sequence + 1
            entry = restored_entry(version, sequence, now)
            after = replace(
                there,
                entry=entry,
                ledger=version.ledger,
                carry=carry.number,
                carry_chunks=carry.pieces,
                waiting=there.waiting - {carry.number},
                replaced=limited(
                    {
                        **{
                            old: at
                            for old, at in there.replaced.items()
                            # `abandon` may have superseded the attempt number under which the carry is stored
                            if old not in (version.generation, carry.number)
                        },
                        replaced: max(now, keep_until),
                    },
                    now,
                ),
                history=history_with(there, entry),
            )
            if self._changed(site_day, there, after, sequence=sequence):
                self._replaced.look_again(site_day)
                self._carries.remove(site_day, there.carry)
                return entry
        raise _busy(site_day)

    def abandon(self, site: str, first_day: int, end_day: int, *, now: int, keep_until: int = 0) -> int:
        """Supersede the unpublished attempts for these days, in a separate write per site-day.

        Raises:
            Unavailable: Cassandra is unavailable; some attempts may be superseded already.
        """
        waiting = [row.day for row in self._of_site(site, first_day, end_day) if row.waiting]
        return sum(self._abandon(SiteDay(site, day), max(now, keep_until)) for day in waiting)

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the current generation's open visits (carry); None if the site-day was never settled.

        Raises:
            StoreCorrupt: pieces of the carry are lost.
        """
        looked_at = None
        for _ in range(_MAX_TRIES):
            row = self._row(site_day)
            if row.entry is None:
                return None
            if row.carry == looked_at:
                raise StoreCorrupt(f"pieces of the carry of {site_day} are lost; {SETTLED_CURE}", place=str(site_day))
            found = self._carries.get(site_day, row.carry, row.carry_chunks)
            if found is not None:
                return found
            looked_at = row.carry
        raise _busy(site_day)

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of each day's current generation."""
        return {row.day: row.ledger for row in self._of_site(site, first_day, end_day) if row.ledger is not None}

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return each site-day's oldest stored drift between settlement and stream; `site` None selects all sites."""
        if site is not None:
            found = {SiteDay(site, row.day): row.drift for row in self._of_site(site, first_day, end_day)}
        else:
            rows = self._session.stream(f"SELECT site, {_SELECT.removeprefix('SELECT ')}")
            found = {SiteDay(row.site, row.day): row_of(row).drift for row in rows if row.day is not None}
        return {
            site_day: drift
            for site_day, drift in sorted(found.items())
            if drift is not None and first_day <= site_day.day < end_day
        }

    def sequence(self, site: str) -> int:
        """Return the site's highest sequence; 0 if the site has no entry."""
        rows = self._session.run("SELECT last_sequence FROM generations WHERE site = ? LIMIT 1", (site,))
        return int(rows[0].last_sequence or 0) if rows else 0

    def superseded(
        self, published_before: int, after: tuple[SiteDay, int] | None = None, limit: int = SUPERSEDED_PAGE
    ) -> Sequence[tuple[SiteDay, int]]:
        """Return a page of the generations that became superseded before the time `published_before`."""
        return self._replaced.superseded(published_before, after, limit)

    def retired(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[RetiredGeneration]:
        """Return the replaced generations of the site-days after `after`, in the order of `replaced_site_days`."""
        while page := self._replaced.site_days(site, after, limit):
            answers = self._session.run_each(f"{_SELECT} WHERE site = ? AND day = ?", page)
            found = [
                retired
                for site_day, rows in zip(page, answers, strict=True)
                for retired in retired_of(site_day, row_of(rows[0]) if rows else SiteDayRow(site_day.day))
            ]
            if found:
                return found
            after = page[-1]
        return []

    def retire(self, site_day: SiteDay, now: int) -> Sequence[int]:
        """Make all replaced generations of a site-day superseded, at `now` at the latest; return the generations."""
        for _ in range(_MAX_TRIES):
            there = self._row(site_day)
            retired = {old: min(at, now) for old, at in there.replaced.items()}
            if retired == there.replaced:
                return sorted(retired)
            self._replaced.note(site_day)
            if self._changed(site_day, there, replace(there, replaced=retired)):
                self._replaced.look_again(site_day)
                return sorted(retired)
        raise _busy(site_day)

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Delete what is stored for a superseded generation; do nothing for any other generation."""
        for _ in range(_MAX_TRIES):
            there, read_us = self._row(site_day), time.time_ns() // 1_000
            if generation not in there.replaced:
                return
            self._carries.remove(site_day, generation)
            left = {old: at for old, at in there.replaced.items() if old != generation}
            if self._changed(site_day, there, replace(there, replaced=left)):
                if not left:
                    # Because the row has changed, a concurrent publication fails and reads the row again. Then the
                    # publication adds the site-day to `replaced_site_days`, with a later timestamp than the deletion.
                    self._replaced.drop(site_day, read_us)
                return
        raise _busy(site_day)

    def _abandon(self, site_day: SiteDay, kept_until: int) -> int:
        for _ in range(_MAX_TRIES):
            there = self._row(site_day)
            if not there.waiting:
                return 0
            self._replaced.note(site_day)
            replaced = {**there.replaced, **dict.fromkeys(there.waiting, kept_until)}
            if self._changed(site_day, there, replace(there, waiting=frozenset(), replaced=replaced)):
                self._replaced.look_again(site_day)
                return len(there.waiting)
        raise _busy(site_day)

    def _has_restored(
        self, site_day: SiteDay, there: SiteDayRow, version: GenerationVersion, seen_sequence: int
    ) -> bool:
        """Return whether an earlier call of `restore` with the same arguments made this version current."""
        is_same = is_restored(version, seen_sequence, there.entry, there.ledger)
        return is_same and self._carries.get(site_day, there.carry, there.carry_chunks) == version.carry

    def _store_carry(self, site_day: SiteDay, carry: bytes) -> _StoredCarry:
        """Store a carry under a new attempt number.

        The new attempt is pending. If no entry with the carry is published, a later publication supersedes the attempt,
        and `forget` deletes the carry.
        """
        number = self.begin(site_day)
        return _StoredCarry(number, self._carries.put(site_day, number, carry))

    def _of_site(self, site: str, first_day: int, end_day: int) -> Iterator[SiteDayRow]:
        rows = self._session.run(f"{_SELECT} WHERE site = ? AND day >= ? AND day < ?", (site, first_day, end_day))
        return map(row_of, rows)

    def _row(self, site_day: SiteDay) -> SiteDayRow:
        """Return the site-day's row; if no row is stored, return an empty row with the site's highest sequence."""
        rows = self._session.run(f"{_SELECT} WHERE site = ? AND day = ?", site_day, serial=True)
        if rows:
            return row_of(rows[0])
        of_site = self._session.run(
            "SELECT last_sequence FROM generations WHERE site = ? LIMIT 1", (site_day.site,), serial=True
        )
        return SiteDayRow(site_day.day, last_sequence=int(of_site[0].last_sequence or 0) if of_site else 0)

    def _changed(self, site_day: SiteDay, there: SiteDayRow, after: SiteDayRow, *, sequence: int | None = None) -> bool:
        """Replace a site-day's row, and the site's sequence if given; return whether the write succeeded.

        If the outcome of the write is unknown, the row is read again to determine the outcome.
        """
        sets = ", ".join(f"{name} = ?" for name in ENTRY)
        condition = "version = ?" if there.version else "version = null"
        wanted = replace(after, version=there.version + 1)
        values = (*columns_of(wanted), *site_day, *([there.version] if there.version else []))
        statements = [(f"UPDATE generations SET {sets} WHERE site = ? AND day = ? IF {condition}", values)]
        if sequence is not None:
            old = [there.last_sequence] if there.last_sequence else []
            of_site = "last_sequence = ?" if old else "last_sequence = null"
            statements.append(
                (
                    f"UPDATE generations SET last_sequence = ? WHERE site = ? IF {of_site}",
                    (sequence, site_day.site, *old),
                )
            )
        try:
            return self._session.apply_batch(statements)
        except Unavailable:
            found = self._row(site_day)
            if replace(found, last_sequence=0) == replace(wanted, last_sequence=0):
                return True
            if sequence is not None and _published_by(found, after.carry):
                return True  # this call published the entry, but another call has changed the row since
            raise


def _published_by(row: SiteDayRow, attempt: int) -> bool:
    """Return whether this attempt published the current entry."""
    return row.entry is not None and row.carry == attempt


def _refuse_stale(site_day: SiteDay, there: SiteDayRow, generation: int, seen_sequence: int) -> None:
    if (there.entry.sequence if there.entry else 0) != seen_sequence:
        raise StaleGeneration(f"{site_day} has a newer entry than sequence {seen_sequence}; scan again")
    if generation not in there.waiting:
        raise StaleGeneration(f"{site_day}: generation {generation} is not pending; begin a new generation")


def _busy(site_day: SiteDay) -> Unavailable:
    return Unavailable(
        f"{site_day}: other writers changed the entry at every attempt; try again", site_day=str(site_day)
    )
