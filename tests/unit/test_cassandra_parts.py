"""Test Cassandra's adapters without a server: migration files, index rows, values written once, and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cassandra import InvalidRequest, OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import ErrorMessage

from hitmesh.adapters.cassandra.errors import EXPECTED, translated
from hitmesh.adapters.cassandra.leases import CassandraLeases
from hitmesh.adapters.cassandra.migrator import check, migrations
from hitmesh.adapters.cassandra.row_types import rows_of
from hitmesh.adapters.cassandra.sweep import Sweep
from hitmesh.adapters.cassandra.written import Written
from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.model.errors import FatalError, HitmeshError, Unavailable
from hitmesh.model.leases import Lease


class TestMigrations:
    def test_every_statement_can_be_run_again(self) -> None:
        statements = [statement for migration in migrations() for statement in migration.statements]
        assert statements
        assert [
            statement for statement in statements if "IF NOT EXISTS" not in statement and "IF EXISTS" not in statement
        ] == []
        assert [statement for statement in statements if ";" in statement or "--" in statement] == []

    def test_numbers_ascend_and_tables_are_named_once(self) -> None:
        numbers = [migration.number for migration in migrations()]
        tables = [table for migration in migrations() for table in migration.tables]
        assert numbers == sorted(set(numbers))
        assert len(tables) == len(set(tables))
        assert {"logs", "progress", "raw_records", "order_holders", "dirty_marks", "rejected_hits"} <= set(tables)

    def test_unchanged_migrations_pass_the_check_and_changed_migrations_are_refused(self) -> None:
        check({migration.number: migration.digest for migration in migrations()})
        with pytest.raises(FatalError, match="was changed after it was applied"):
            check({migrations()[0].number: "other"})


class TestSweep:
    def test_look_that_took_long_is_repeated_later_and_looks_in_between_begin_where_rows_are(self) -> None:
        now_s = 0.0
        sweep = Sweep(2, long_s=1.0, share=20, clock=lambda: now_s)
        assert sweep.begin() == ("", "")
        now_s = 3.0
        sweep.end([["m", "n"], []])
        for found in (["m"], ["p"]):
            assert sweep.begin() == ("m", "")
            now_s += 1.0
            sweep.end([found, []])
        assert sweep.begin() == ("p", "")
        sweep.end([[], ["b"]])
        now_s = 62.9
        assert sweep.begin() == ("p", "b")
        sweep.end([[], []])
        now_s = 63.0
        assert sweep.begin() == ("", "")

    def test_look_that_was_short_is_repeated_at_once(self) -> None:
        now_s = 0.0
        sweep = Sweep(1, long_s=1.0, clock=lambda: now_s)
        for _ in range(3):
            assert sweep.begin() == ("",)
            now_s += 0.9
            sweep.end([["m"]])


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (OperationTimedOut(), Unavailable),
            (NoHostAvailable("gone", {}), Unavailable),
            (ErrorMessage(0x1700, "cas write unknown", None), Unavailable),
            (ConnectionResetError("reset"), Unavailable),
            (InvalidRequest("unconfigured table x"), FatalError),
            (OverflowError("too large"), FatalError),
        ],
    )
    def test_kind_of_error_shows_whether_another_try_may_help(self, error: Exception, kind: type[HitmeshError]) -> None:
        assert isinstance(error, EXPECTED)
        translation = translated(error, "SELECT *\n    FROM x")
        assert type(translation) is kind
        assert "SELECT * FROM x" in translation.message


class TestWritten:
    def test_noted_keys_are_not_missing(self) -> None:
        written: Written[str] = Written()
        assert written.missing(["a", "b", "a"]) == ["a", "b"]
        written.note(["a"])
        assert written.missing(["a", "b"]) == ["b"]
        written.forget("a")
        written.forget("never")
        assert written.missing(["a"]) == ["a"]

    def test_least_used_is_forgotten_first(self) -> None:
        written: Written[int] = Written(max_kept=2)
        written.note([1, 2])
        assert written.missing([1]) == []
        written.note([3])
        assert written.missing([1, 2, 3]) == [2]


class TestRows:
    def test_columns_are_names_and_conditions_lose_their_brackets(self) -> None:
        ((applied, offset), *_) = rows = rows_of(["[applied]", "offset"], [(False, 7), (True, None)])
        assert (applied, offset, rows[1].applied, rows[0].offset) == (False, 7, True, 7)

    @pytest.mark.parametrize("bits", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
    def test_64_bits_come_back(self, bits: int) -> None:
        assert to_unsigned(to_signed(bits)) == bits
        assert np.int64(to_signed(bits)) == to_signed(bits)


class Statements:
    """A session that accepts each statement and remembers its values."""

    def __init__(self) -> None:
        self.values: list[tuple[object, ...]] = []

    def apply_each(self, _: str, values: Sequence[tuple[object, ...]]) -> list[bool]:
        self.values += values
        return [True] * len(values)


@pytest.mark.parametrize(("length_ms", "ttl_s"), [(1, 2), (1_000, 2), (1_001, 3), (1_999, 3), (15_000, 16)])
def test_lease_lives_for_its_length_although_the_store_counts_in_whole_seconds(length_ms: int, ttl_s: int) -> None:
    session: Any = Statements()
    writers: Any = None  # a renewal needs no new fencing token
    CassandraLeases(session, writers).renew([Lease("x", "a", 1)], length_ms)
    assert [values[0] for values in session.values] == [ttl_s]
