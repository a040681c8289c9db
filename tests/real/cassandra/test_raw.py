"""Cassandra's raw records beyond the port: pieces, buckets, an index with superfluous entries."""

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
