"""Test which store answers a question, and the reason that the answer states."""

from __future__ import annotations

from hitmesh.model.cells import Grain
from hitmesh.model.filters import Comparison, Operator
from reporter.answer.route import Path, route
from tests.support.settled_rows import a_question


def test_totals_over_time_of_one_site_come_from_its_series_at_any_grain() -> None:
    for grain in Grain:
        way = route(a_question("hits,visitors,net_revenue,conversion_rate", grain=grain), 1)
        assert way.paths == (Path.SERIES, Path.METRICS)
        assert way.is_fixed_shape


def test_questions_with_dimensions_filters_or_several_sites_go_to_the_metrics() -> None:
    tree = Comparison("browser", Operator.EQ, ("Firefox",))
    for way, named in (
        (route(a_question("hits", dimensions="channel,os"), 1), "channel, os"),
        (route(a_question("hits", tree=tree), 1), "browser"),
        (route(a_question("hits"), 2), "2 sites"),
    ):
        assert way.paths == (Path.METRICS,)
        assert not way.is_fixed_shape
        assert named in way.reason
