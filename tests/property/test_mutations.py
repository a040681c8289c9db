"""Each test breaks a rule in the product, and asserts that the comparison with the reference detects it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from hitmesh.model.limits import COPY_WINDOW_MS
from hitmesh.model.sites import VisitPolicy
from processor.rules import copies, visits
from processor.rules.carry import Carry
from processor.settle import built, ranges, settlement
from processor.settle.inputs import DayInputs
from tests.generate.facts import SHOPS
from tests.generate.hits import FIRST_DAY, generate_hits
from tests.reference.hits import RefHit
from tests.support.small_mesh import Rows, SmallMesh, differences, expected_rows

NOW = (FIRST_DAY.toordinal() - 719_163 + 4) * 86_400_000


@cache
def hits() -> tuple[RefHit, ...]:
    """Return all scenarios for a site, and two visitors whose hits have the same id."""
    made = [hit for hit in generate_hits(seed=21, count=1) if hit.site == SHOPS[0].site]
    view = next(hit for hit in made if hit.type == "PAGE_VIEW")
    return (*made, *(dataclasses.replace(view, visitor=name, hit_id="same") for name in ("one", "another")))


def a_mesh() -> SmallMesh:
    mesh = SmallMesh(NOW, sites=[SHOPS[0].site])
    for start in range(0, len(hits()), 1_000):
        mesh.send(hits()[start : start + 1_000])
    return mesh


@cache
def expected() -> Rows:
    return expected_rows(a_mesh().sent)


def found_differences() -> list[str]:
    """Return the differences that the property test would report for these hits."""
    mesh = a_mesh()
    mesh.settle()
    return differences(mesh.rows(), expected())


def with_policy(change: Callable[[VisitPolicy], VisitPolicy]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a version of `settle` that uses a changed visit policy."""

    def wrap(settle: Callable[..., Any]) -> Callable[..., Any]:
        return lambda inputs: settle(dataclasses.replace(inputs, policy=change(inputs.policy)))

    return wrap


def patch_settle(monkeypatch: pytest.MonkeyPatch, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    monkeypatch.setattr("processor.settle.attempt.settle", wrap(ranges.settle))


@pytest.mark.timeout(60)
def test_without_a_mutation_nothing_differs() -> None:
    assert found_differences() == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("by_ms", [-1, 1])
def test_gap_that_is_a_millisecond_off_is_noticed(monkeypatch: pytest.MonkeyPatch, by_ms: int) -> None:
    patch_settle(monkeypatch, with_policy(lambda policy: dataclasses.replace(policy, gap_ms=policy.gap_ms + by_ms)))
    assert found_differences()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("by_ms", [-1, 1])
def test_cap_that_is_a_millisecond_off_is_noticed(monkeypatch: pytest.MonkeyPatch, by_ms: int) -> None:
    patch_settle(monkeypatch, with_policy(lambda policy: dataclasses.replace(policy, cap_ms=policy.cap_ms + by_ms)))
    assert found_differences()


@pytest.mark.timeout(60)
def test_cap_on_hits_that_is_one_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_settle(monkeypatch, with_policy(lambda policy: dataclasses.replace(policy, max_hits=policy.max_hits + 1)))
    assert found_differences()


@pytest.mark.timeout(60)
def test_campaign_rule_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_settle(monkeypatch, with_policy(lambda policy: dataclasses.replace(policy, campaign_splits=False)))
    assert found_differences()


@pytest.mark.timeout(60)
def test_campaign_rule_that_splits_at_the_same_campaign_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    build = visits.build_visits

    def each_its_own(rows: pl.DataFrame, *rest: Any) -> Any:
        campaigns = rows["campaign_hash"].to_numpy()
        other = np.where(campaigns == 0, campaigns, campaigns ^ np.arange(1, len(campaigns) + 1, dtype=np.uint64))
        return build(rows.with_columns(pl.Series("campaign_hash", other)), *rest)

    monkeypatch.setattr(built, "build_visits", each_its_own)
    assert found_differences()


@pytest.mark.timeout(60)
def test_dropped_carry_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_carry(settle: Callable[..., Any]) -> Callable[..., Any]:
        def forgetful(inputs: DayInputs) -> Any:
            carry = inputs.carry and Carry(inputs.carry.open_visits.clear())
            return settle(dataclasses.replace(inputs, carry=carry))

        return forgetful

    patch_settle(monkeypatch, no_carry)
    assert found_differences()


@pytest.mark.timeout(60)
def test_dedup_key_without_the_visitor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = copies.find_copies

    def anyone(rows: pl.DataFrame) -> copies.Copies:
        constant = pl.lit(1, pl.UInt64)
        return find(rows.with_columns(constant.alias("visitor_hi"), constant.alias("visitor_lo")))

    monkeypatch.setattr(settlement, "find_copies", anyone)
    assert found_differences()


@pytest.mark.timeout(60)
def test_copy_window_that_is_a_millisecond_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    find = copies.find_copies
    monkeypatch.setattr(settlement, "find_copies", lambda rows: find(rows, COPY_WINDOW_MS - 1))
    assert found_differences()
