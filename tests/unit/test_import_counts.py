"""Test the counts of an import: duplicates and erased hits, from the ledger before and after the import."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from google.type.date_pb2 import Date

from hitmesh.api.control.v1.operations_pb2 import GetLedgerRequest, GetLedgerResponse, LedgerCount, LedgerDay
from hitmesh.client.mesh import Mesh
from hitmesh.client.sender import SendTotals
from hitmesh.client.visibility import Wait
from hitmesh.tools.cli.import_ledger import Booked, booked, booked_with, erased_hits
from hitmesh.tools.cli.import_run import Stored, duplicates
from tests.unit.commands import WEBLOG, mesh_of_home
from tests.unit.scripted_mesh import KEY, ScriptedMesh


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedMesh]:
    with mesh_of_home(tmp_path / "home", monkeypatch) as mesh:
        yield mesh


def a_ledger(day: int, accepted: int, *, erased: int = 0, pending: int = 0) -> GetLedgerResponse:
    of_day = LedgerDay(
        utc_date=Date(year=2015, month=5, day=day),
        accepted=LedgerCount(hits=accepted),
        erased=erased,
        pending=LedgerCount(hits=pending),
    )
    return GetLedgerResponse(site=WEBLOG, days=[of_day])


@pytest.mark.parametrize(
    ("before", "after", "totals", "expected"),
    [
        (Stored(0, 0), Stored(10, 0), SendTotals(sent=10, accepted=10), 0),
        (Stored(10, 2), Stored(10, 12), SendTotals(sent=10, accepted=10), 10),
        (Stored(4, 0), Stored(10, 4), SendTotals(sent=10, accepted=10), 4),
        # Three hits were sent twice, and two hits were stored twice. No hit was stored before the import.
        (Stored(0, 0), Stored(10, 2), SendTotals(sent=10, accepted=10, resent=3), 0),
        (Stored(4, 0), Stored(10, 6), SendTotals(sent=10, accepted=10, resent=3), 4),
        # Another client's hits arrived during the import.
        (Stored(0, 0), Stored(90, 0), SendTotals(sent=10, accepted=10, resent=3), 0),
        (Stored(0, 0), Stored(10, 50), SendTotals(sent=10, accepted=10), 10),
    ],
)
def test_duplicates_are_copies_of_what_was_stored_before(
    before: Stored, after: Stored, totals: SendTotals, expected: int
) -> None:
    assert duplicates(before, after, totals) == expected


def test_erased_hits_are_neither_copies_nor_new_hits() -> None:
    totals = SendTotals(sent=10, accepted=10, resent=3)
    assert duplicates(Stored(0, 0), Stored(4, 9), totals, erased=5) == 1
    assert erased_hits(Booked(erased=2), Booked(erased=5), totals) == 3
    assert erased_hits(Booked(), Booked(erased=99), totals) == 10
    assert erased_hits(Booked(erased=5), Booked(), totals) == 0


def test_the_ledger_is_read_until_it_has_every_accepted_hit_and_none_is_pending(mesh: ScriptedMesh) -> None:
    first, last = date(2015, 5, 17), date(2015, 5, 18)
    mesh.ledgers[WEBLOG] = [a_ledger(17, 3), a_ledger(17, 5, pending=2), a_ledger(17, 5, erased=2)]
    slept: list[float] = []
    with Mesh.connect(mesh.endpoint, KEY) as client:
        wait = Wait(1.0, 0.5, clock_s=lambda: sum(slept), sleep=slept.append)
        found = booked_with(client, WEBLOG, first, last, Booked(), 5, wait)
        assert (found, len(slept)) == (Booked(5, 2, 0), 2)
        mesh.ledgers[WEBLOG] = [a_ledger(17, 3)]
        assert booked_with(client, WEBLOG, first, last, Booked(), 5, wait) == Booked(3)


def test_days_that_a_ledger_omits_are_read_by_further_calls(mesh: ScriptedMesh) -> None:
    mesh.ledgers[WEBLOG] = [a_ledger(18, 3, erased=1), a_ledger(17, 4), a_ledger(16, 5, erased=2)]
    with Mesh.connect(mesh.endpoint, KEY) as client:
        assert booked(client, WEBLOG, date(2015, 5, 16), date(2015, 5, 18)) == Booked(12, 3, 0)
    last_days = [question.last_utc_date.day for question in mesh.questions if isinstance(question, GetLedgerRequest)]
    assert last_days == [18, 17, 16]
