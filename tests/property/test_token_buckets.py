"""Properties of token buckets and of the quotas that are made of them."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from hitmesh.model.token_bucket import TokenBucket, charge_all

RATES = st.integers(1, 10_000)
BURSTS = st.integers(1, 20_000)
COSTS = st.integers(0, 30_000)
# Times may go back, as a clock that is set by hand does.
STEPS = st.lists(st.tuples(st.integers(-5_000, 5_000), COSTS), max_size=60)


def taken(rate_s: int, burst: int, steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the (time, cost) of each charge that passed. The first number of a step is added to the time."""
    bucket, now_ms, passed = TokenBucket(rate_s, burst, 0), 0, []
    for step_ms, cost in steps:
        now_ms += step_ms
        if not charge_all([(bucket, cost)], now_ms):
            passed.append((now_ms, cost))
    return passed


@given(RATES, BURSTS, STEPS)
@example(10, 20, [(0, 20), (-1_000, 0), (2_000, 20), (-2_000, 0), (2_000, 20)])
def test_no_period_has_more_charges_than_its_rate_and_the_burst(
    rate_s: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    passed = taken(rate_s, burst, steps)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            period = passed[first : last + 1]
            times = [at for at, _ in passed[: last + 1]]
            # While a clock is behind its latest value, no time passes for a bucket.
            length_ms = max(times) - max(times[: first + 1])
            largest = max(burst, *(cost for _, cost in period))
            assert sum(cost for _, cost in period) * 1_000 <= rate_s * length_ms + largest * 1_000


@given(RATES, BURSTS, STEPS, COSTS)
def test_a_charge_passes_exactly_after_the_wait(
    rate_s: int, burst: int, steps: list[tuple[int, int]], cost: int
) -> None:
    bucket, now_ms = TokenBucket(rate_s, burst, 0), 0
    for step_ms, earlier in steps:
        now_ms += step_ms
        charge_all([(bucket, earlier)], now_ms)
    wait_ms = bucket.wait_ms(cost, now_ms)
    if wait_ms:
        assert bucket.wait_ms(cost, now_ms + wait_ms - 1) == 1
    assert charge_all([(bucket, cost)], now_ms + wait_ms) == 0


@given(RATES, BURSTS, STEPS, COSTS)
def test_a_refused_charge_costs_nothing(rate_s: int, burst: int, steps: list[tuple[int, int]], cost: int) -> None:
    """Two buckets are charged together. If either refuses, neither loses a token."""
    open_, tight, now_ms = TokenBucket(10**9, 10**9, 0), TokenBucket(rate_s, burst, 0), 0
    for step_ms, each in [*steps, (0, cost)]:
        now_ms = max(now_ms, now_ms + step_ms)
        before = open_.tokens(now_ms), tight.tokens(now_ms)
        if charge_all([(open_, each), (tight, each)], now_ms):
            assert (open_.tokens(now_ms), tight.tokens(now_ms)) == before


@given(RATES, BURSTS, STEPS)
def test_a_charge_that_is_given_back_never_happened(rate_s: int, burst: int, steps: list[tuple[int, int]]) -> None:
    with_, without, now_ms = TokenBucket(rate_s, burst, 0), TokenBucket(rate_s, burst, 0), 0
    for step_ms, cost in steps:
        now_ms += step_ms
        if not charge_all([(with_, cost)], now_ms):
            with_.give_back(cost)
        without.wait_ms(cost, now_ms)
        assert with_.tokens(now_ms) == without.tokens(now_ms)


@given(st.lists(st.tuples(st.integers(0, 3_000), RATES, BURSTS, COSTS), max_size=40))
def test_a_bucket_that_is_resized_keeps_the_bound_of_its_rates(steps: list[tuple[int, int, int, int]]) -> None:
    bucket, now_ms, allowed, passed = TokenBucket(1, 1, 0), 0, 1_000, 0
    for step_ms, rate_s, burst, cost in steps:
        now_ms += step_ms
        allowed += step_ms * bucket.rate_s
        bucket.resize(rate_s, burst, now_ms)
        if cost <= burst and not charge_all([(bucket, cost)], now_ms):
            passed += cost
        assert passed * 1_000 <= allowed
