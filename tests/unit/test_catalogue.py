"""Test the catalogue: the parts of each metric, and invalid pairs of metric and dimension (rules §8, §9)."""

from __future__ import annotations

import pytest

from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource
from hitmesh.model.similar_names import nearest
from reporter.question.catalogue import (
    DIMENSIONS,
    ITEM_METRICS,
    METRICS,
    PARTS,
    Kind,
    allowed_dimensions,
    column_of,
    conflict,
)

FIRST_RELEASE = """
hits pageviews events product_views visits visitors bounces bounce_rate visit_duration_total visit_duration_avg
views_per_visit entries exits cart_adds checkouts_started item_revenue orders items_sold gross_revenue refunds
net_revenue tax shipping discounts average_order_value revenue_per_visit order_visits conversion_rate bot_hits
excluded_hits duplicate_hits rejected_hits late_hits clock_skewed_hits
"""
VISIT_METRICS = [
    "visits",
    "bounces",
    "bounce_rate",
    "visit_duration_avg",
    "entries",
    "exits",
    "revenue_per_visit",
    "conversion_rate",
]


def test_every_metric_of_the_first_release_is_there() -> None:
    assert list(METRICS) == FIRST_RELEASE.split()


def test_every_part_and_dimension_is_a_column_of_its_rows() -> None:
    for name, part in PARTS.items():
        columns = ROW_COLUMNS[part.source]
        assert part.column in columns, name
    for metric in METRICS.values():
        for dimension in allowed_dimensions(metric):
            for name in metric.parts:
                assert column_of(PARTS[name], dimension) in ROW_COLUMNS[PARTS[name].source], (metric.id, dimension)


def test_ratios_and_differences_have_two_parts_and_the_others_one() -> None:
    for metric in METRICS.values():
        assert len(metric.parts) == (2 if metric.kind in (Kind.RATIO, Kind.DIFFERENCE) else 1)


def test_page_path_is_landing_page_of_visits_exit_page_of_exits_and_itself_of_hits() -> None:
    assert column_of(PARTS["pageviews"], "page_path") == "page_path"
    assert column_of(PARTS["visits"], "page_path") == "landing_page"
    assert column_of(PARTS["entries"], "page_path") == "landing_page"
    assert column_of(PARTS["exits"], "page_path") == "exit_page"
    assert column_of(PARTS["exits"], "hostname") == "hostname"
    assert PARTS["exits"].source is RowSource.VISITS


@pytest.mark.parametrize("metric", VISIT_METRICS)
@pytest.mark.parametrize("dimension", ["product", "category", "brand"])
def test_a_visit_metric_with_an_item_dimension_is_refused_with_metrics_that_work(metric: str, dimension: str) -> None:
    found = conflict(METRICS[metric], dimension)
    assert found is not None
    assert found.reason == "VISIT_METRIC_HIT_DIMENSION"
    assert all(name in found.message for name in ITEM_METRICS)


@pytest.mark.parametrize("metric", ["orders", "gross_revenue", "average_order_value", "hits", "visitors", "late_hits"])
def test_a_whole_order_or_hit_is_not_split_by_item(metric: str) -> None:
    found = conflict(METRICS[metric], "brand")
    assert found is not None
    assert found.reason == "ORDER_METRIC_ITEM_DIMENSION"
    assert all(name in found.message for name in ITEM_METRICS)


@pytest.mark.parametrize("metric", ITEM_METRICS)
def test_item_metrics_go_with_item_dimensions(metric: str) -> None:
    assert allowed_dimensions(METRICS[metric]) == tuple(DIMENSIONS)


@pytest.mark.parametrize("metric", VISIT_METRICS)
def test_visit_metrics_go_with_page_path_and_hostname(metric: str) -> None:
    assert {"page_path", "hostname", "channel", "site"} <= set(allowed_dimensions(METRICS[metric]))


def test_rejected_hits_are_known_by_site_only() -> None:
    assert allowed_dimensions(METRICS["rejected_hits"]) == ("site",)
    found = conflict(METRICS["rejected_hits"], "channel")
    assert found is not None
    assert found.reason == "REJECTED_METRIC_DIMENSION"


def test_the_nearest_names_are_named_and_else_all() -> None:
    assert nearest("vists", METRICS).startswith("did you mean visits")
    assert nearest("Channel", DIMENSIONS) == "did you mean channel?"
    assert "page_path, hostname" in nearest("zzzzzz", DIMENSIONS)
