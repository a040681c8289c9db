"""Test the report of `hitmesh load`: differences, percentiles, and each kind of problem."""

from __future__ import annotations

import json
from dataclasses import replace

from hitmesh.tools.load.comparing import against_books
from hitmesh.tools.load.expected import METRICS, NOTHING, Copy, Counts, Difference, Expected, FrameFacts, differences
from hitmesh.tools.load.figures import Spread, per_second, percentile
from hitmesh.tools.load.outcome import Check, Outcome, Probes
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.processes import Usage
from hitmesh.tools.load.questions import Days, LedgerDays
from hitmesh.tools.load.tally import Progress
from hitmesh.tools.load.visits import VisitCounts
from tests.support.dates import a_date

ONE_VIEW = Counts(1, 1, 0, 0, 0, 0, 0)


def facts(frame: int, *copies: Copy, fresh: Counts = NOTHING) -> FrameFacts:
    return FrameFacts(frame, 0, fresh, copies)


def test_copies_of_a_hit_that_was_sent_are_duplicates() -> None:
    expected = Expected()
    expected.send(facts(0, fresh=ONE_VIEW))
    expected.send(facts(1, Copy(0, 7, ONE_VIEW), Copy(0, 7, ONE_VIEW)))
    totals = expected.totals({0: VisitCounts(1, 1)})[0]
    assert totals == dict.fromkeys(METRICS, 0) | {
        "hits": 1,
        "pageviews": 1,
        "duplicate_hits": 2,
        "visits": 1,
        "bounces": 1,
    }


def test_first_copy_stands_for_a_hit_whose_frame_was_left_out_and_visits_are_not_compared() -> None:
    expected = Expected()
    expected.leave_out(facts(0, fresh=ONE_VIEW))
    expected.send(facts(1, Copy(0, 7, ONE_VIEW), Copy(0, 8, ONE_VIEW)))
    expected.send(facts(2, Copy(0, 7, ONE_VIEW)))
    totals = expected.totals({0: VisitCounts(1, 1)})[0]
    assert (totals["hits"], totals["duplicate_hits"]) == (2, 1)
    assert not expected.is_complete
    assert "visits" not in totals


def test_bots_are_excluded_hits() -> None:
    expected = Expected()
    expected.send(facts(0, fresh=Counts(0, 0, 0, 0, 0, 3, 1)))
    totals = expected.totals({0: VisitCounts(0, 0)})[0]
    assert (totals["hits"], totals["bot_hits"], totals["excluded_hits"], totals["late_hits"]) == (0, 3, 3, 1)


def test_every_total_that_differs_is_named_and_resent_hits_may_be_copies() -> None:
    wanted = {"hits": 10, "duplicate_hits": 2}
    assert differences("s", wanted, {"hits": 10, "duplicate_hits": 2}) == []
    assert differences("s", wanted, {"hits": 9, "duplicate_hits": 5}, extra_copies=3) == [
        Difference("s", "hits", 10, 9)
    ]
    assert differences("s", wanted, {"hits": 10, "duplicate_hits": 1}, extra_copies=3) == [
        Difference("s", "duplicate_hits", 2, 1)
    ]


def test_days_are_whole_and_hold_both_ends() -> None:
    days = Days.of(16_572 * 86_400_000 - 1, 16_572 * 86_400_000)
    assert days == Days(16_571, 16_573)
    assert days.dates() == (a_date("2015-05-16"), a_date("2015-05-17"))
    instants = days.message().instants
    assert (instants.start.seconds, instants.end.seconds) == (16_571 * 86_400, 16_573 * 86_400)


def test_ledger_must_agree_with_the_report() -> None:
    report = {"hits": 8, "duplicate_hits": 2, "excluded_hits": 1}
    assert against_books("s", report, LedgerDays(8, 2, 1, 0)) == []
    assert against_books("s", report, LedgerDays(7, 2, 1, 0)) == [Difference("s", "ledger_counted", 8, 7)]


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 201)]
    assert Spread.of(values[::-1]) == Spread(100.0, 198.0, 200.0)
    assert Spread.of([]).as_json(3) == {"p50": None, "p99": None, "max": None}
    assert percentile([5.0], 50) == 5.0
    assert per_second(10, 0) == 0.0


def an_outcome(**changes: object) -> Outcome:
    spread = Spread(0.01, 0.02, 0.03)
    good = Outcome(
        run="1f",
        plan=LoadPlan(rate=10, duration_s=10),
        streams=2,
        hits=Progress(100, 0, 100, 0, 0),
        refusals=(),
        acknowledged_in_s=10.0,
        visible_in_s=12.5,
        latency_s=spread,
        delay_s=spread,
        probes=Probes(10, 0, 0, spread),
        lag_s=spread,
        processes=(Usage("collector", 7, 2.5, 100.0),),
        processes_omitted="",
        check=Check(3, {}, (), {}),
    )
    return replace(good, **changes)  # type: ignore[arg-type]  # the fields are named by each test


def test_good_run_has_no_problems_and_its_rates_are_over_their_own_times() -> None:
    report = an_outcome().as_json()
    assert report["ok"]
    assert report["rates"] == {"offered_per_s": 10.0, "acknowledged_per_s": 10.0, "visible_per_s": 8.0}
    assert report["processes"][0]["cpu_cores"] == 0.2
    assert report["processes"][0]["cpu_us_per_hit"] == 25_000.0
    assert json.loads(json.dumps(report)) == report


def test_every_problem_is_named() -> None:
    wrong = an_outcome(
        hits=Progress(100, 0, 99, 1, 0),
        refusals=("REASON_INVALID_FIELD: because",),
        probes=Probes(10, 0, 1, Spread(None, None, None)),
        check=Check(3, {"visits": "why"}, (Difference("s", "hits", 2, 1),), {"s": 4}),
    )
    assert len(wrong.problems) == 4
    assert not wrong.as_json()["ok"]
    rows = dict(wrong.as_rows())
    assert rows["ledger"] == "NOT balanced: {'s': 4}"
    assert rows["  s"] == "hits: expected 2, reported 1"
    assert rows["  without visits"] == "why"


def test_all_hits_of_the_shape_wild_that_are_not_late_are_reported_as_out_of_order() -> None:
    plan = LoadPlan(600, 6, late_percent=20, shape="wild")
    assert an_outcome(plan=plan).as_json()["run"]["out_of_order_percent"] == 80.0
