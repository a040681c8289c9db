"""Test the charges to a sender for refused hits, with literal numbers of units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from collector.admission import Issue
from collector.gate import Gate
from collector.outcome import BatchOutcome
from collector.refusal_budget import CALL_UNITS, HIT_UNITS, KEYLESS, RefusalBudget, RefusedSender
from hitmesh.adapters.factory import open_stores
from hitmesh.model.errors import PermissionDenied, RetryError
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.clock import ManualClock

KEY, ADDRESS, SITE = "hms_browser", "1.2.3.4", "merchants/demo/sites/a"


@pytest.fixture
def budget() -> RefusalBudget:
    return RefusalBudget(1_000.0, lambda: 0.0)


@pytest.fixture
def gate(budget: RefusalBudget) -> Gate:
    directory = open_stores("memory:", ManualClock(0)).directory
    directory.create_site(Site(name=SITE, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
    directory.create_key(IngestKey("k", "merchants/demo", KeyKind.BROWSER, SITE), KEY)
    return Gate(directory, budget, ManualClock(0))


def refused(accepted: int, *indexes: int) -> BatchOutcome:
    issues = tuple(Issue(0, index, "", "REJECTED", "DECODE", "", "") for index in indexes)
    return BatchOutcome(issues, accepted=accepted, rejected=len(indexes))


def charged(budget: RefusalBudget) -> float:
    """Return the part of the charge that exceeds the 4,000 units of a full bucket."""
    return budget.wait_s(RefusedSender(KEY, ADDRESS)) * 1_000 + 4_000


@pytest.mark.parametrize(
    ("sizes", "work"),
    [
        ([10, 10, 10, 9_970], 9_970),  # the charge is the size of the refused hit, not a fourth of all bytes
        ([1, 1, 1, 1], 9_996 / 4 + 1),  # the charge is the hit's size and a share of the bytes outside hits
        ((), 2_500),  # if the hits' sizes are unknown, each hit is charged an equal share of the bytes
    ],
)
def test_a_refused_hit_is_charged_by_its_own_bytes(
    gate: Gate, budget: RefusalBudget, sizes: Sequence[int], work: float
) -> None:
    gate.charge(KEY, ADDRESS, 10_000, sizes, refused(3, 3))
    assert charged(budget) == pytest.approx(work + HIT_UNITS + CALL_UNITS)


def test_a_batch_that_is_refused_whole_is_charged_whole(gate: Gate, budget: RefusalBudget) -> None:
    gate.charge(KEY, ADDRESS, 10_000, [5_000], refused(0, -1))
    assert charged(budget) == pytest.approx(10_000 + HIT_UNITS + CALL_UNITS)


@pytest.mark.parametrize("key", [KEY, ""])
def test_calls_in_parallel_do_not_all_pass_before_one_is_charged(gate: Gate, key: str) -> None:
    with (
        gate.held(key, ADDRESS, 100),
        pytest.raises(RetryError, match="calls in progress exhaust the sender's budget"),
        gate.held(key, ADDRESS, 100),
    ):
        pytest.fail("more is set aside than the bucket holds")
    with gate.held(key, ADDRESS, 100):
        pass


@pytest.mark.parametrize("key", [KEY, ""])
def test_work_that_fails_gives_back_what_was_set_aside(gate: Gate, budget: RefusalBudget, key: str) -> None:
    with pytest.raises(ZeroDivisionError), gate.held(key, ADDRESS, 100_000):
        raise ZeroDivisionError
    assert not budget._held, "nothing is remembered of who has no work that runs"
    with gate.held(key, ADDRESS, 100):
        pass


@pytest.mark.parametrize("kind", [KeyKind.BROWSER, KeyKind.SERVER, KeyKind.EDGE])
@pytest.mark.parametrize("ending", [{"revoked_at": 9}, {"expires_at": 10}])
def test_work_with_an_ended_key_is_charged_like_work_without_a_key(
    budget: RefusalBudget, kind: KeyKind, ending: dict[str, Any]
) -> None:
    clock = ManualClock(9)
    directory = open_stores("memory:", clock).directory
    directory.create_key(IngestKey("k", "merchants/demo", kind, SITE, **ending), KEY)
    gate = Gate(directory, budget, clock)
    clock.advance(1)
    gate.charge_units(KEY, ADDRESS, 5_000)
    assert budget.wait_s(KEYLESS) * 1_000 + 4_000 == pytest.approx(5_000 + CALL_UNITS)


def test_hits_with_a_browser_key_are_read_only_from_an_allowed_origin(budget: RefusalBudget) -> None:
    directory = open_stores("memory:", ManualClock(0)).directory
    directory.create_site(Site(SITE, "UTC", "USD", b"a secret of sixteen", allowed_origins=("https://shop.example",)))
    directory.create_key(IngestKey("k", "merchants/demo", KeyKind.BROWSER, SITE), KEY)
    directory.create_key(IngestKey("s", "merchants/demo", KeyKind.SERVER, SITE), "hms_server")
    gate = Gate(directory, budget, ManualClock(0))
    assert gate.reads_hits(KEY, "https://shop.example")
    for origin in ("", "null", "https://rival.example"):
        assert not gate.reads_hits(KEY, origin)
        assert gate.reads_hits("hms_server", origin)
        with pytest.raises(PermissionDenied):
            gate.require(KEY, origin, ADDRESS)
    assert not gate.reads_hits("hms_nobody", "https://shop.example")


def test_streams_from_an_origin_that_is_not_allowed_are_charged_to_their_sender() -> None:
    budget = RefusalBudget(CALL_UNITS / 4, lambda: 0.0)  # a full bucket pays for a single call
    directory = open_stores("memory:", ManualClock(0)).directory
    directory.create_site(Site(SITE, "UTC", "USD", b"a secret of sixteen", allowed_origins=("https://shop.example",)))
    directory.create_key(IngestKey("k", "merchants/demo", KeyKind.BROWSER, SITE), KEY)
    gate = Gate(directory, budget, ManualClock(0))
    gate.require(KEY, "https://shop.example", ADDRESS)
    assert not budget.any_debt
    for _ in range(2):
        with pytest.raises(PermissionDenied):
            gate.require(KEY, "https://rival.example", ADDRESS)
    with pytest.raises(RetryError):
        gate.check(KEY, ADDRESS)
    gate.check(KEY, "5.6.7.8")
