"""Test stored reprocessings.

After a read, every field has its stored value. If a value is stored under another key, the value counts as damaged.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest

from hitmesh.adapters.shared.reprocessing_values import (
    newest_first,
    rebuilt_of,
    rebuilt_value,
    reprocessing_of,
    reprocessing_value,
)
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import opened, sealed

MADE = Reprocessing("r1", Kind.LOGIC, "v0", ("merchants/m/sites/s",), 1, 3, 5, 6)
DAY = SiteDay("merchants/m/sites/s", 1)
EMPTY = GenerationVersion(0, 2, {}, LedgerEntry(0, 0, 0, 0, 0, 0), b"")


def came_back(rebuilt: Rebuilt) -> Rebuilt:
    return rebuilt_of("r1", rebuilt.site_day, rebuilt_value(rebuilt))


class TestReprocessingValues:
    @pytest.mark.parametrize("state", State)
    @pytest.mark.parametrize("work", [None, *Work])
    def test_every_state_and_work_comes_back(self, state: State, work: Work | None) -> None:
        made = replace(MADE, kind=Kind.REPAIR, state=state, work=work, error="ü\x00", version=2**40, sites=())
        assert reprocessing_of("r1", reprocessing_value(made)) == made

    def test_value_under_another_id_is_damaged(self) -> None:
        with pytest.raises(StoreCorrupt, match="reprocessing r2 is stored under the key of another value"):
            reprocessing_of("r2", reprocessing_value(MADE))

    def test_reprocessings_of_the_same_time_come_by_id(self) -> None:
        made = [replace(MADE, id=id_, created_at=at) for id_, at in (("a", 1), ("c", 1), ("b", 2))]
        assert [reprocessing.id for reprocessing in newest_first(made)] == ["b", "c", "a"]


class TestRebuiltValues:
    def test_numbers_of_any_size_come_back(self) -> None:
        ledger = LedgerEntry(2**40, 7, 2, 1, 2**64 - 1, 2**63)
        version = GenerationVersion(2**40, 0, {PartitionId("hits-ü", 63): 2**62}, ledger, bytes(range(256)))
        flags = {(Position("log", 1, 2**62), row): row % 2 == 0 for row in range(500)}
        changes = {"gross_revenue": Change(-(10**40), 10**40), "hits": Change(0, 1)}
        reasons = ChangeReasons(merged_visits=2**40, split_visits=1, joined_hits=-5)
        rebuilt = Rebuilt(
            DAY,
            version,
            replace(version, carry=b"other" * 1_000),
            2**50,
            flags,
            changes,
            frozenset({0, 19_999}),
            reasons,
        )
        assert came_back(rebuilt) == rebuilt

    def test_value_that_an_earlier_version_stored_has_no_reasons(self) -> None:
        rebuilt = Rebuilt(DAY, EMPTY, EMPTY, 1, {}, {})
        content = zlib.decompress(opened(rebuilt_value(rebuilt), "", ""))
        lengths = struct.Struct("<II")
        text = content[lengths.size :].replace(b', "reasons": null', b"")
        assert len(text) < len(content) - lengths.size
        earlier = sealed(zlib.compress(lengths.pack(len(text), 0) + text))
        assert rebuilt_of("r1", DAY, earlier) == rebuilt

    @pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"a", b""), (b"", b"a"), (b"{", b"}")])
    def test_empty_carries_come_back(self, before: bytes, after: bytes) -> None:
        rebuilt = Rebuilt(DAY, replace(EMPTY, carry=before), replace(EMPTY, carry=after), 1, {}, {})
        assert came_back(rebuilt) == rebuilt

    @pytest.mark.parametrize("key", [DAY._replace(day=2), DAY._replace(site="merchants/m/sites/t")])
    def test_value_under_another_site_day_is_damaged(self, key: SiteDay) -> None:
        value = rebuilt_value(Rebuilt(DAY, EMPTY, EMPTY, 1, {}, {}))
        expected = f"the recomputed day {key.day} of {key.site} in reprocessing r1 is stored under the key of another"
        with pytest.raises(StoreCorrupt, match=expected):
            rebuilt_of("r1", key, value)
