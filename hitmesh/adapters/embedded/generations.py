"""Store which generation of each site-day is current, on one machine in settled.db (architecture A9).

If two attempts settle the same site-day, this module decides which attempt is published. This module decodes neither
rows nor an entry's open visits (carry).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.generation_rows import (
    Newest,
    day_entry,
    day_ledger,
    newest_of,
    packed_drift,
    site_day_drift,
    site_day_generation,
)
from hitmesh.adapters.embedded.retired import SizeOf, limit_kept, past_of_days, retired_of
from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.past_entries import recorded
from hitmesh.adapters.shared.publication import (
    is_restored,
    published_generation,
    refuse_changed_site,
    replaced_by_restore,
    restored_entry,
    superseded_by,
)
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import FIRST_STREAM, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import MAX_PAST_ENTRIES, PastEntry, RetiredGeneration
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay
from hitmesh.ports.settling import SUPERSEDED_PAGE

_CURRENT: Final = """SELECT {columns}, max(sequence) FROM generations
    WHERE site = ? AND day >= ? AND day < ? GROUP BY day"""
_FORGET: Final = "DELETE FROM generations WHERE site = ? AND day = ? AND generation = ?"
_NEWEST: Final = f"site, day, {', '.join(Newest._fields)}"
_NOT_SUPERSEDED: Final = "DELETE FROM superseded WHERE site = ? AND day = ? AND generation = ?"


class EmbeddedGenerations:
    """Implements the port Generations in settled.db.

    A publication supersedes all earlier attempts for the site-day. Superseded attempts can no longer be published.
    `superseded` also returns superseded attempts, so that their rows can be removed.

    Args:
        database: settled.db.
        size_of: returns the sizes of the files with rows, for `retired`.
    """

    def __init__(self, database: Database, size_of: SizeOf) -> None:
        self._database = database
        self._size_of = size_of

    def begin(self, site_day: SiteDay) -> int:
        """Return a new generation number and store it; no number is returned twice for the same site-day."""
        with self._database.writing() as transaction:
            generation = transaction.first(
                int,
                """INSERT INTO attempt_counters VALUES (?, ?, 1)
                ON CONFLICT DO UPDATE SET last_generation = last_generation + 1 RETURNING last_generation""",
                site_day,
            )
            assert generation is not None  # not None, because RETURNING always returns the written row
            transaction.run("INSERT INTO attempts VALUES (?, ?, ?)", (*site_day, generation))
        return generation

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day that has an entry."""
        columns = "day, generation, sequence, logic_version, read_through, published_at, rules_version"
        with self._database.reading() as transaction:
            return dict(transaction.rows(day_entry, _CURRENT.format(columns=columns), (site, first_day, end_day)))

    def history(self, site: str, first_day: int, end_day: int) -> Mapping[int, Sequence[PastEntry]]:
        """Return the entries of each day that has an entry."""
        with self._database.reading() as transaction:
            return past_of_days(transaction, site, first_day, end_day)

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
        """Make a generation current, with its ledger entry and open visits (carry), in a single durable transaction.

        If `drift.confirmed` is true, the stream's generation becomes current; otherwise, the attempt's generation does.

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the attempt is no longer pending;
                nothing was written.
            ValueError: `drift.confirmed` is true, but an earlier publication superseded the stream's rows.
        """
        with self._database.writing() as transaction:
            current = _refuse_stale(transaction, site_day, generation, seen_sequence)
            last_sequence = _last_sequence(transaction, site_day.site)
            refuse_changed_site(site_day.site, last_sequence, seen_site_sequence)
            published = published_generation(generation, current, drift, streams)
            _supersede_older_attempts(transaction, site_day, generation, now)
            _supersede(transaction, site_day, superseded_by(published, current, drift, streams), max(now, keep_until))
            limit_kept(transaction, site_day, now)
            if drift is not None:
                transaction.run("INSERT OR IGNORE INTO drifts VALUES (?, ?, ?)", (*site_day, packed_drift(drift)))
            sequence = last_sequence + 1
            entry = GenerationEntry(published, sequence, logic_version, dict(read_through), now, rules_version)
            _make_current(transaction, site_day, newest_of(entry, ledger, carry))
        return entry

    def restore(
        self,
        site_day: SiteDay,
        version: GenerationVersion,
        *,
        seen_sequence: int,
        now: int,
        keep_until: int,
    ) -> GenerationEntry:
        """Make a replaced generation current again in a single durable transaction.

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the generation is no longer kept;
                nothing was written.
        """
        with self._database.writing() as transaction:
            newest, key = _newest(transaction, site_day), (*site_day, version.generation)
            entry = newest.entry if newest else None
            if newest and is_restored(version, seen_sequence, entry, newest.ledger) and newest.carry == version.carry:
                return newest.entry
            kept_until = transaction.first(
                int, "SELECT superseded_at FROM superseded WHERE site = ? AND day = ? AND generation = ?", key
            )
            replaced = replaced_by_restore(site_day, version.generation, seen_sequence, entry, kept_until, now)
            _supersede(transaction, site_day, [replaced], max(now, keep_until))
            transaction.run(_NOT_SUPERSEDED, key)
            limit_kept(transaction, site_day, now)
            sequence = _last_sequence(transaction, site_day.site) + 1
            restored = restored_entry(version, sequence, now)
            _make_current(transaction, site_day, newest_of(restored, version.ledger, version.carry))
        return restored

    def abandon(self, site: str, first_day: int, end_day: int, *, now: int, keep_until: int = 0) -> int:
        """Supersede all unpublished attempts for these days, in a single durable transaction."""
        days = (site, first_day, end_day)
        with self._database.writing() as transaction:
            transaction.run(
                """INSERT INTO superseded SELECT site, day, generation, ? FROM attempts
                WHERE site = ? AND day >= ? AND day < ?""",
                (max(now, keep_until), *days),
            )
            return transaction.run("DELETE FROM attempts WHERE site = ? AND day >= ? AND day < ?", days)

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the current generation's open visits (carry); None if the site-day was never settled."""
        with self._database.reading() as transaction:
            return transaction.first(
                bytes,
                "SELECT carry FROM generations WHERE site = ? AND day = ? ORDER BY sequence DESC LIMIT 1",
                site_day,
            )

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of each day's current generation."""
        columns = "day, accepted, counted, duplicate, excluded, sum64, xor64, erased"
        with self._database.reading() as transaction:
            return dict(transaction.rows(day_ledger, _CURRENT.format(columns=columns), (site, first_day, end_day)))

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return each site-day's oldest stored drift between settlement and stream; `site` None selects all sites."""
        of_site = "" if site is None else "AND site = ?"
        with self._database.reading() as transaction:
            return dict(
                transaction.rows(
                    site_day_drift,
                    f"SELECT site, day, drift FROM drifts WHERE day >= ? AND day < ? {of_site} ORDER BY site, day",
                    (first_day, end_day, *([] if site is None else [site])),
                )
            )

    def sequence(self, site: str) -> int:
        """Return the site's highest sequence; 0 if the site has no entry."""
        with self._database.reading() as transaction:
            return _last_sequence(transaction, site)

    def superseded(
        self, published_before: int, after: tuple[SiteDay, int] | None = None, limit: int = SUPERSEDED_PAGE
    ) -> Sequence[tuple[SiteDay, int]]:
        """Return a page of the generations that became superseded before the time `published_before`."""
        (site, day), generation = after or (SiteDay("", 0), 0)
        with self._database.reading() as transaction:
            # SQLite compares the tuples in the order of the primary key. The condition `site >= ?` excludes all earlier
            # sites without reading them.
            return transaction.rows(
                site_day_generation,
                """SELECT site, day, generation FROM superseded
                WHERE site >= ? AND (site, day, generation) > (?, ?, ?) AND superseded_at < ?
                ORDER BY site, day, generation LIMIT ?""",
                (site, site, day, generation, published_before, limit),
            )

    def retired(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[RetiredGeneration]:
        """Return the superseded generations of site-days that follow `after`, in the order (site, day)."""
        with self._database.reading() as transaction:
            return retired_of(transaction, site, after, limit, self._size_of)

    def retire(self, site_day: SiteDay, now: int) -> Sequence[int]:
        """Make all replaced generations of a site-day superseded, at `now` at the latest; return the generations."""
        with self._database.writing() as transaction:
            transaction.run(
                "UPDATE superseded SET superseded_at = min(superseded_at, ?) WHERE site = ? AND day = ?",
                (now, *site_day),
            )
            return transaction.rows(
                int, "SELECT generation FROM superseded WHERE site = ? AND day = ? ORDER BY generation", site_day
            )

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Delete what is stored for a superseded generation; do nothing for any other generation."""
        # The bytes are overwritten, because the entry's carry may hold visits of an erased visitor.
        with self._database.erasing() as transaction:
            key = (*site_day, generation)
            if transaction.run(_NOT_SUPERSEDED, key):
                transaction.run(_FORGET, key)


class _Numbers(NamedTuple):
    sequence: int
    generation: int


def _newest(transaction: Transaction, site_day: SiteDay) -> Newest | None:
    """Return the site-day's current entry with its ledger entry and carry."""
    return transaction.first(
        Newest,
        f"""SELECT {", ".join(Newest._fields)} FROM generations WHERE site = ? AND day = ?
        ORDER BY sequence DESC LIMIT 1""",
        site_day,
    )


def _refuse_stale(transaction: Transaction, site_day: SiteDay, generation: int, seen_sequence: int) -> int | None:
    """Return the current generation; None if there is no entry. Raise StaleGeneration if the attempt is outdated."""
    newest = transaction.first(
        _Numbers,
        "SELECT sequence, generation FROM generations WHERE site = ? AND day = ? ORDER BY sequence DESC LIMIT 1",
        site_day,
    )
    sequence = newest.sequence if newest else 0
    if sequence != seen_sequence:
        raise StaleGeneration(
            f"{site_day.site} day {site_day.day}: sequence {sequence} was published after "
            f"sequence {seen_sequence} was read; scan again"
        )
    waits = transaction.first(
        int,
        "SELECT 1 FROM attempts WHERE site = ? AND day = ? AND generation = ?",
        (*site_day, generation),
    )
    if waits is None:
        raise StaleGeneration(
            f"{site_day.site} day {site_day.day}: generation {generation} is not pending, "
            f"the current generation is {newest.generation if newest else None}; begin a new generation"
        )
    return newest.generation if newest else None


def _supersede(transaction: Transaction, site_day: SiteDay, generations: Iterable[int], superseded_at: int) -> None:
    transaction.run_many(
        "INSERT INTO superseded VALUES (?, ?, ?, ?)",
        [(*site_day, generation, superseded_at) for generation in generations],
    )


def _supersede_older_attempts(transaction: Transaction, site_day: SiteDay, generation: int, now: int) -> None:
    """Supersede the site-day's earlier pending attempts, and remove `generation` from the pending attempts."""
    transaction.run(
        """INSERT INTO superseded SELECT site, day, generation, ? FROM attempts
        WHERE site = ? AND day = ? AND generation < ?""",
        (now, *site_day, generation),
    )
    transaction.run("DELETE FROM attempts WHERE site = ? AND day = ? AND generation <= ?", (*site_day, generation))


def _make_current(transaction: Transaction, site_day: SiteDay, newest: Newest) -> None:
    """Store an entry in place of any earlier entry for the same generation, and add the entry to the past entries."""
    transaction.run(_FORGET, (*site_day, newest.generation))
    transaction.run(f"INSERT INTO generations ({_NEWEST}) VALUES ({', '.join('?' * 16)})", (*site_day, *newest))
    transaction.run("INSERT INTO past_entries VALUES (?, ?, ?, ?, ?, ?)", (*site_day, *recorded(newest.entry)))
    transaction.run(
        """DELETE FROM past_entries WHERE site = ? AND day = ? AND sequence <=
        (SELECT sequence FROM past_entries WHERE site = ? AND day = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?)""",
        (*site_day, *site_day, MAX_PAST_ENTRIES),
    )


def _last_sequence(transaction: Transaction, site: str) -> int:
    return transaction.first(int, "SELECT coalesce(max(sequence), 0) FROM generations WHERE site = ?", (site,)) or 0
