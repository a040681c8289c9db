"""Test raw records on Cassandra beyond the port's contract: pieces, buckets, and superfluous index entries."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hitmesh.adapters.cassandra.raw import CassandraRawStore
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.keys import hash64
from hitmesh.model.positions import Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay

LARGE_BYTES = 1_000_003


def a_record(log: str, offset: int, sites: list[str], value: bytes = b"v") -> RawRecord:
    position, site_days = Position(log, 0, offset), frozenset(SiteDay(site, 7) for site in sites)
    return RawRecord(position, 1_000 + offset, 1, 2, 3, value, 1, site_days)


def test_large_record_comes_back_whole(session: CassandraSession) -> None:
    raw, value = CassandraRawStore(session), random.Random(1).randbytes(LARGE_BYTES)
    records = [a_record("large", 5, ["large"], value), a_record("large", 6, ["large"])]
    raw.put(records)
    assert list(raw.scan("large", 0, 9)) == records
    assert raw.get(records[0].position) == records[0]


def test_record_that_is_cut_short_is_never_taken_for_whole(session: CassandraSession) -> None:
    raw, record = CassandraRawStore(session), a_record("cut", 5, ["cut"], bytes(LARGE_BYTES))
    raw.put([record])
    session.run("DELETE FROM raw_records WHERE log = 'cut' AND partition = 0 AND span = 0 AND offset = 5 AND piece = 2")
    with pytest.raises(StoreCorrupt, match="has 3 of 4 pieces"):
        raw.get(record.position)
    session.run("DELETE FROM raw_records WHERE log = 'cut' AND partition = 0 AND span = 0 AND offset = 5 AND piece = 0")
    assert raw.get(record.position) is None
    with pytest.raises(StoreCorrupt, match="in the index but not in raw_records"):
        list(raw.scan("cut", 0, 9))


def test_puts_that_overlap_lose_nothing(session: CassandraSession) -> None:
    raw = CassandraRawStore(session)
    records = [a_record("overlap", offset, ["overlap"]) for offset in range(1_020, 1_030)]
    for first, end in ((0, 6), (0, 2), (1, 10), (9, 10), (0, 6)):
        raw.put(records[first:end])
    assert list(raw.scan("overlap", 7, 8)) == records


def test_site_that_shares_a_bucket_sees_only_its_own_records(session: CassandraSession) -> None:
    raw, sites = CassandraRawStore(session), [f"shared-{number}" for number in range(2_000)]
    mine = next(site for site in sites[1:] if hash64(site) % 256 == hash64(sites[0]) % 256)
    raw.put([a_record("shared", 1, sites), a_record("shared", 2, sites[:1]), a_record("shared", 3, [mine])])
    assert [record.position.offset for record in raw.scan(mine, 7, 8)] == [1, 3]
    assert [record.position.offset for record in raw.scan(sites[0], 7, 8)] == [1, 2]


def test_stale_index_entry_yields_no_record_of_another_site(session: CassandraSession) -> None:
    raw = CassandraRawStore(session)
    raw.put([a_record("vain", 1, ["vain"])])
    session.run("DELETE FROM raw_records WHERE log = 'vain' AND partition = 0 AND span = 0")
    raw.put([replace(a_record("vain", 1, ["other"]))])
    assert list(raw.scan("vain", 0, 9)) == []


def test_salvage_goes_on_after_lost_and_damaged_records(session: CassandraSession) -> None:
    raw = CassandraRawStore(session)
    records = [a_record("salvage", offset, ["salvage"], bytes(300_000)) for offset in range(4)]
    raw.put(records)
    of = "DELETE FROM raw_records WHERE log = 'salvage' AND partition = 0 AND span = 0 AND offset ="
    session.run(f"{of} 1")
    session.run(f"{of} 2 AND piece = 1")
    found = list(raw.salvage("salvage", 0, 9))
    assert found == [(record.position, record if at in (0, 3) else None) for at, record in enumerate(records)]
    raw.restore(records[1:3])
    assert list(raw.scan("salvage", 0, 9)) == records


@pytest.mark.parametrize("is_rebuilt_alike", [True, False])
def test_damaged_index_row_is_rebuilt_from_the_records_of_its_span(
    session: CassandraSession, is_rebuilt_alike: bool
) -> None:
    name = f"index-{is_rebuilt_alike}"
    raw, records = CassandraRawStore(session), [a_record(name, offset, [name]) for offset in range(3)]
    raw.put(records)
    rows = session.run("SELECT bucket, digest FROM raw_index WHERE day = 7 AND log = ? ALLOW FILTERING", (name,))
    if not is_rebuilt_alike:  # a later put writes another index row for the same span
        records.append(a_record(name, 9, [name]))
        raw.put(records[3:])
    session.run(
        """INSERT INTO raw_index (day, bucket, log, partition, first_offset, digest, records)
        VALUES (7, ?, ?, 0, 0, ?, ?)""",
        (rows[0].bucket, name, rows[0].digest, bytes(28)),
    )
    with pytest.raises(StoreCorrupt, match="raw_index is damaged"):
        list(raw.scan(name, 0, 9))
    raw.mend_index(SiteDay(name, 7))
    assert list(raw.scan(name, 0, 9)) == records


def test_lost_day_of_a_site_is_found_again(session: CassandraSession) -> None:
    raw, record = CassandraRawStore(session), a_record("days", 1, ["days"])
    raw.put([record])
    session.run("DELETE FROM raw_site_days WHERE site = 'days'")
    assert list(raw.salvage("days", 0, 9)) == []
    raw.mend_index(SiteDay("days", 7))
    assert list(raw.scan("days", 0, 9)) == [record]
