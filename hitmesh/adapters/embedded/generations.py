"""Settlement on one machine: the current generation of each site-day (architecture A9), in settled.db.

This module decides which attempt wins when two attempts settle the same site-day; it does not read carries or rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.adapters.shared.publication import published_generation, superseded_by
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay

_CURRENT: Final = """SELECT {columns}, max(sequence) FROM generations
    WHERE site = ? AND day >= ? AND day < ? GROUP BY day"""
_FORGET: Final = "DELETE FROM generations WHERE site = ? AND day = ? AND generation = ?"


class EmbeddedGenerations:
    """Implementation of Generations in settled.db.

    An attempt that began before the current generation can no longer be published. `superseded` also returns such
    attempts, so that their leftovers can be removed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, site_day: SiteDay) -> int:
        """Return a generation number that was never returned before for the site-day, and store it."""
        with self._database.writing() as transaction:
            generation = transaction.first(
                int,
                """INSERT INTO attempt_counters VALUES (?, ?, 1)
                ON CONFLICT DO UPDATE SET last_generation = last_generation + 1 RETURNING last_generation""",
                site_day,
            )
            assert generation is not None  # RETURNING gives the written row
            transaction.run("INSERT INTO attempts VALUES (?, ?, ?)", (*site_day, generation))
        return generation

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day that has an entry."""
        columns = "day, generation, sequence, logic_version, read_through, published_at"
        with self._database.reading() as transaction:
            return dict(transaction.rows(_day_entry, _CURRENT.format(columns=columns), (site, first_day, end_day)))

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
    ) -> GenerationEntry:
        """Make a generation current, with its ledger entry and carry, in a single durable transaction.

        The stream's generation becomes current if `drift.confirmed` is true, otherwise the generation of the attempt.

        Raises:
            StaleGeneration: another entry or a later attempt has been published since; nothing was written.
            ValueError: the stream's rows would be confirmed after they were superseded.
        """
        with self._database.writing() as transaction:
            current = _refuse_stale(transaction, site_day, generation, seen_sequence)
            published = published_generation(generation, current, drift)
            sequence = _last_sequence(transaction, site_day.site) + 1
            _supersede(transaction, site_day, generation, superseded_by(published, current, drift), now)
            if current == published:
                transaction.run(_FORGET, (*site_day, published))
            if drift is not None:
                transaction.run("INSERT OR IGNORE INTO drifts VALUES (?, ?, ?)", (*site_day, _packed_drift(drift)))
            transaction.run(
                f"INSERT INTO generations VALUES ({', '.join('?' * 14)})",
                (
                    *site_day,
                    sequence,
                    published,
                    logic_version,
                    _packed(read_through),
                    now,
                    ledger.accepted,
                    ledger.counted,
                    ledger.duplicate,
                    ledger.excluded,
                    to_signed(ledger.sum64),
                    to_signed(ledger.xor64),
                    carry,
                ),
            )
        return GenerationEntry(published, sequence, logic_version, dict(read_through), now)

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the carry of the current generation; None when the site-day was never settled."""
        with self._database.reading() as transaction:
            return transaction.first(
                bytes,
                "SELECT carry FROM generations WHERE site = ? AND day = ? ORDER BY sequence DESC LIMIT 1",
                site_day,
            )

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of the current generation per day."""
        columns = "day, accepted, counted, duplicate, excluded, sum64, xor64"
        with self._database.reading() as transaction:
            return dict(transaction.rows(_day_ledger, _CURRENT.format(columns=columns), (site, first_day, end_day)))

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return, per site-day, the drift of the first entry that had a drift; `site` None selects all sites."""
        of_site = "" if site is None else "AND site = ?"
        with self._database.reading() as transaction:
            return dict(
                transaction.rows(
                    _site_day_drift,
                    f"SELECT site, day, drift FROM drifts WHERE day >= ? AND day < ? {of_site} ORDER BY site, day",
                    (first_day, end_day, *([] if site is None else [site])),
                )
            )

    def sequence(self, site: str) -> int:
        """Return the site's highest sequence, 0 without an entry."""
        with self._database.reading() as transaction:
            return _last_sequence(transaction, site)

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Return generations, published or not, that were superseded before `published_before` (UTC ms)."""
        with self._database.reading() as transaction:
            return transaction.rows(
                _site_day_generation,
                """SELECT site, day, generation FROM superseded WHERE superseded_at < ?
                ORDER BY site, day, generation""",
                (published_before,),
            )

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forget a superseded generation; ignore any other."""
        with self._database.writing() as transaction:
            key = (*site_day, generation)
            if transaction.run("DELETE FROM superseded WHERE site = ? AND day = ? AND generation = ?", key):
                transaction.run(_FORGET, key)


class _Newest(NamedTuple):
    sequence: int
    generation: int


def _refuse_stale(transaction: Transaction, site_day: SiteDay, generation: int, seen_sequence: int) -> int | None:
    """Return the current generation, None without an entry; raise StaleGeneration if the attempt may not replace it."""
    newest = transaction.first(
        _Newest,
        """SELECT sequence, generation FROM generations WHERE site = ? AND day = ?
        ORDER BY sequence DESC LIMIT 1""",
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


def _supersede(transaction: Transaction, site_day: SiteDay, generation: int, old: set[int], now: int) -> None:
    """Note the generations `old`, and attempts before the new generation, as superseded."""
    transaction.run_many(
        "INSERT INTO superseded VALUES (?, ?, ?, ?)", [(*site_day, old_generation, now) for old_generation in old]
    )
    transaction.run(
        """INSERT INTO superseded SELECT site, day, generation, ? FROM attempts
        WHERE site = ? AND day = ? AND generation < ?""",
        (now, *site_day, generation),
    )
    transaction.run("DELETE FROM attempts WHERE site = ? AND day = ? AND generation <= ?", (*site_day, generation))


def _last_sequence(transaction: Transaction, site: str) -> int:
    return transaction.first(int, "SELECT coalesce(max(sequence), 0) FROM generations WHERE site = ?", (site,)) or 0


def _packed(read_through: Mapping[PartitionId, int]) -> str:
    return json.dumps([[*partition, offset] for partition, offset in sorted(read_through.items())])


def _packed_drift(drift: Drift) -> str:
    return json.dumps(
        {
            "confirmed": drift.confirmed,
            "rows_differ": drift.rows_differ,
            "sketch_provisional": drift.sketch_provisional,
            "measures": dict(drift.measures),
            "row_measures": dict(drift.row_measures),
            "full_refunds": drift.full_refunds,
        }
    )


def _site_day_drift(site: str, day: int, drift: str) -> tuple[SiteDay, Drift]:
    return SiteDay(site, day), Drift(**json.loads(drift))


def _day_entry(
    day: int,
    generation: int,
    sequence: int,
    logic_version: int,
    read_through: str,
    published_at: int,
    _newest: int,
) -> tuple[int, GenerationEntry]:
    through = {PartitionId(log, partition): offset for log, partition, offset in json.loads(read_through)}
    return day, GenerationEntry(generation, sequence, logic_version, through, published_at)


def _day_ledger(
    day: int, accepted: int, counted: int, duplicate: int, excluded: int, sum64: int, xor64: int, _newest: int
) -> tuple[int, LedgerEntry]:
    return day, LedgerEntry(accepted, counted, duplicate, excluded, to_unsigned(sum64), to_unsigned(xor64))


def _site_day_generation(site: str, day: int, generation: int) -> tuple[SiteDay, int]:
    return SiteDay(site, day), generation
