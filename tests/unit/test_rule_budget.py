"""Test the budget of steps for a site's exclusion rules.

Hits beyond a site's budget must be sent again. The hits of other sites do not wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace

import polars as pl
import pytest

from collector.admission import Frame
from collector.batcher import MicroBatcher
from collector.classify import Classifier
from collector.micro_batch import Waiting
from collector.outcome import BatchOutcome
from collector.rule_budget import BURST_S, RuleBudget
from collector.settings import CollectorSettings
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import FatalError
from hitmesh.model.exclusion import NO_RULES, RuleKind, SiteRules
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.rule_flags import matcher_of
from hitmesh.model.rule_changes import with_rule
from hitmesh.model.rule_patterns import VALUE_STEPS, RulePatterns
from hitmesh.model.sites import IngestKey, KeyKind
from processor.rules.day_rules import DayRules
from tests.support.admitting import EDGE, SITE, a_batch, a_page, admitted, grant
from tests.support.collectors import KEY, MERCHANT, NOW_MS, Backend, new_backend
from tests.support.collectors import SITE as COLLECTED
from tests.support.messages import page_view
from tests.support.patience import patient

WAIT_S = patient(10)
HOSTILE = "(?:a?|b?|\\B){36}c$"
OTHER = "merchants/demo/sites/other"
OTHER_KEY = "hms_other"


def hostile_rules() -> SiteRules:
    return with_rule(NO_RULES, RuleKind.PAGE, HOSTILE, now=0)


def test_batches_pass_while_the_budget_is_above_zero_and_the_debt_is_paid_first() -> None:
    now_s = [0.0]
    budget = RuleBudget(100, lambda: now_s[0])
    full = int(BURST_S * 100)
    assert budget.passing("a", [full - 1, 500, 1, 1]) == 2, "the batch that begins above zero passes whole"
    assert budget.passing("a", [0]) == 0
    assert budget.wait_s("a") == pytest.approx(4.99)
    assert budget.passing("b", [1, 1]) == 2, "another site has another budget"
    now_s[0] = 4.98
    assert budget.passing("a", [1]) == 0
    now_s[0] = 5.01
    assert (budget.wait_s("a"), budget.passing("a", [1])) == (0, 1)
    now_s[0] = 1_000.0
    assert budget.passing("a", [full - 1, 1, 1]) == 2, "an idle site has the burst, not more"


def test_the_sites_that_are_remembered_are_bounded() -> None:
    budget = RuleBudget(1, lambda: 0.0, max_sites=2)
    for site in "abc":
        assert budget.passing(site, [1_000]) == 1
    assert [budget.wait_s(site) > 0 for site in "abc"] == [False, True, True]


def test_a_site_that_was_charged_lately_keeps_its_debt() -> None:
    budget = RuleBudget(1, lambda: 0.0, max_sites=2)
    for site in "abac":
        budget.passing(site, [1_000])
    assert [budget.wait_s(site) > 0 for site in "abc"] == [True, False, True]


def test_a_site_whose_budget_is_used_up_exactly_waits_for_a_step() -> None:
    budget = RuleBudget(100, lambda: 0.0)
    assert budget.passing("a", [int(BURST_S * 100)]) == 1
    assert (budget.passing("a", [1]), budget.wait_s("a")) == (0, 0.01)


def test_steps_are_counted_for_each_distinct_value_up_to_the_bytes_that_patterns_see() -> None:
    size = RulePatterns((HOSTILE,)).size
    steps = matcher_of(hostile_rules().current).steps(RuleKind.PAGE, pl.Series(["/a", "/bc", "x" * 5_000]))
    assert steps.to_list() == [size * length + VALUE_STEPS for length in (2, 3, 512)]
    hosts = matcher_of(with_rule(NO_RULES, RuleKind.HOST, "a.example", now=0).current)
    assert hosts.steps(RuleKind.HOST, pl.Series(["a.example"])).to_list() == [0]


def pages(batch: int, count: int = 3) -> bytes:
    return a_batch(
        *(a_page(f"https://shop.example/{batch}/{number}") for number in range(count)),
        a_page("no url"),
        key=EDGE,
        batch_id=f"b{batch}",
    )


def test_admission_puts_off_whole_batches_beyond_the_budget_and_nothing_else() -> None:
    charged: list[tuple[str, list[int]]] = []

    def first_only(site: str, steps: Sequence[int]) -> int:
        charged.append((site, list(steps)))
        return 1

    site = replace(SITE, rules=hostile_rules())
    other = replace(SITE, name="merchants/n/sites/other")
    to = {(EDGE, ""): grant(KeyKind.EDGE, site), ("other", ""): grant(KeyKind.EDGE, other)}
    neighbour = a_batch(a_page("https://shop.example/n"), key="other", batch_id="n")
    found = admitted(pages(0), neighbour, pages(1), pages(0), to=to, rule_steps=first_only)
    assert found.accepted.tolist() == [3, 1, 0, 0]
    assert dict(found.put_off) == {2: site.name, 3: site.name}
    assert sorted(found.hits["frame"].to_list()) == [0, 0, 0, 1]
    assert found.rejected["frame"].to_list() == [0]
    assert {issue.frame for issue in found.issues} == {0}
    size = RulePatterns((HOSTILE,)).size
    assert charged == [(site.name, [3 * (size * 4 + VALUE_STEPS)] * 2 + [0])], "a repeated value costs nothing"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    backend = new_backend(classifier)
    directory = backend.stores.directory
    site = directory.site(COLLECTED)
    assert site is not None
    directory.create_site(replace(site, name=OTHER))
    directory.create_key(IngestKey("other", MERCHANT, KeyKind.SERVER, OTHER), OTHER_KEY)
    assert directory.change_rules(COLLECTED, hostile_rules())
    return backend


@contextmanager
def batching(backend: Backend, steps_s: int) -> Iterator[MicroBatcher]:
    settings = CollectorSettings.model_validate({"store": "memory:", "linger_ms": 0, "rule_steps_s": steps_s})
    batcher = MicroBatcher(backend.log, backend.stores.directory, backend.classifier, backend.clock, settings)
    try:
        yield batcher
    finally:
        batcher.stop()


def submit(batcher: MicroBatcher, name: str, key: str = KEY, site: str = COLLECTED) -> Future[BatchOutcome]:
    outcome: Future[BatchOutcome] = Future()
    hits = [page_view(f"{name}-{number}", NOW_MS) for number in range(5)]
    for number, hit in enumerate(hits):
        hit.page_view.url = f"https://shop.example/{name}/{number}/" + "ab" * 200
    batch = hit_pb2.HitBatch(hits=hits).SerializeToString()
    batcher.submit(Waiting(Frame(batch, key, site, NOW_MS), outcome.set_result))
    return outcome


def test_a_site_whose_rules_cost_too_much_must_send_again_and_other_sites_do_not_wait(backend: Backend) -> None:
    with batching(backend, 1_000) as batcher:
        hostile = [submit(batcher, f"h{number}") for number in range(40)]
        neighbours = [submit(batcher, f"n{number}", OTHER_KEY, OTHER) for number in range(3)]
        batcher.start()
        outcomes = [future.result(WAIT_S) for future in hostile]
        assert [future.result(WAIT_S).accepted for future in neighbours] == [5] * 3
        later = submit(batcher, "later").result(WAIT_S)
    assert [outcome.accepted for outcome in outcomes] == [5] + [0] * 39
    for outcome in (*outcomes[1:], later):
        (issue,) = outcome.issues
        assert (issue.index, issue.outcome, issue.reason) == (-1, "RETRY", "QUOTA")
        assert f"{COLLECTED} need more than 1,000 steps a second" in issue.message
        assert "shorten or delete" in issue.message
        assert (issue.variables["site"], issue.variables["limit"]) == (COLLECTED, 1_000)
        assert outcome.retry_s is not None
        assert outcome.retry_s >= 1
        assert not outcome.is_charged, "the hits are valid, so nobody pays for refused work"
    assert len(backend.rows()) == 5 + 15
    assert backend.refusals().height == 0


def test_a_batch_that_was_put_off_is_accepted_when_it_is_sent_again(backend: Backend) -> None:
    with batching(backend, 100_000_000) as batcher:
        batcher.start()
        assert [submit(batcher, name).result(WAIT_S).accepted for name in "ab"] == [5, 5]


def test_a_settlement_whose_rules_cost_too_much_fails_before_the_rules_are_matched() -> None:
    rows = pl.DataFrame({"event_time": [0, 1], "flags": [0, 0], "page_path": ["/a" * 200, "/b" * 200]})
    rows = rows.with_columns(pl.col("flags").cast(pl.UInt32))
    size = RulePatterns((HOSTILE,)).size
    steps = 2 * (size * 400 + VALUE_STEPS)
    enough = DayRules(hostile_rules(), {0: 1}, steps_a_hit=0, free_steps=steps)
    assert enough.decided(rows)["flags"].to_list() == [0, 0]
    assert replace(enough, steps_a_hit=steps // 2, free_steps=0).decided(rows).height == 2
    with pytest.raises(FatalError, match=f"{steps:,} steps for 2 hits; the limit is {steps - 1:,}") as raised:
        replace(enough, free_steps=steps - 1).decided(rows)
    assert raised.value.reason is ErrorReason.FILTER_TOO_DEAR
    assert raised.value.variables == {"steps": steps, "count": 2, "limit": steps - 1}
