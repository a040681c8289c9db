"""Shares of a quota: how collectors divide a limit by their recent use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.quotas import FLOOR, HitLimits, Quota, Use, limits_in, share_of

LIMIT = 1_000
USES = st.lists(st.builds(Use, st.floats(0, 10_000), st.booleans()), min_size=1, max_size=8)


def shares(limit: int, uses: list[Use], idle: int = 0) -> list[float]:
    """Return the share of each collector, then the shares of the idle collectors."""
    every = [*uses, *[Use()] * idle]
    return [share_of(limit, each, [*every[:at], *every[at + 1 :]], len(every)) for at, each in enumerate(every)]


@given(st.integers(1, 10**9), USES, st.integers(0, 20))
def test_shares_add_up_to_the_limit_whatever_the_use(limit: int, uses: list[Use], idle: int) -> None:
    assert sum(shares(limit, uses, idle)) == pytest.approx(limit)


@given(st.integers(1, 10**9), USES, st.integers(0, 20))
def test_every_collector_has_a_share(limit: int, uses: list[Use], idle: int) -> None:
    floor = FLOOR * limit / (len(uses) + idle)
    assert min(shares(limit, uses, idle)) >= floor * min(1.0, 1 / (1.1 * sum(use.per_s for use in uses) / limit + 1))


@given(USES)
def test_collectors_without_use_may_be_left_out(uses: list[Use]) -> None:
    first, others = uses[0], uses[1:]
    live = len(uses) + 2
    assert share_of(LIMIT, first, others, live) == pytest.approx(share_of(LIMIT, first, [*others, Use(), Use()], live))


def test_one_busy_collector_gets_nearly_the_whole_limit() -> None:
    busy, *idle = shares(LIMIT, [Use(100, is_short=True)], idle=9)
    assert busy == pytest.approx(LIMIT * (1 - FLOOR * 9 / 10))
    assert idle == [pytest.approx(LIMIT * FLOOR / 10)] * 9


def test_collectors_that_refuse_divide_what_the_others_leave() -> None:
    assert shares(LIMIT, [Use(100), Use(400, is_short=True), Use(10, is_short=True)]) == pytest.approx([110, 445, 445])


def test_own_limits_replace_the_defaults() -> None:
    default = HitLimits(100, 1_000)
    assert limits_in(Quota(), default) == default
    assert limits_in(Quota(hits_s=1, bytes_s=7), default) == HitLimits(1, 7)
