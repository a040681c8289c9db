"""Test the contributions of hits, items, copies, refusals and visits to rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from datasketches import compact_theta_sketch, update_theta_sketch

from hitmesh.model.hit_types import CartAction, HitType
from hitmesh.model.reasons import HitFlag
from hitmesh.model.rows.rollup_rows import TRAFFIC_COLUMNS, TRAFFIC_DIMENSIONS, VISIT_DIMENSIONS
from processor.rules.rollups import DIMS, RowOwner, numbered_dimensions, traffic_rows
from processor.settle.window import WINDOW_COLUMNS

OWNER = RowOwner("merchants/m/sites/s", 20_000, 3)
MIDNIGHT = 20_000 * 86_400_000
CELL = 900_000
COUNTED_COLUMNS = {
    **WINDOW_COLUMNS,
    **dict.fromkeys(VISIT_DIMENSIONS, pl.String()),
    "wins_order": pl.Boolean(),
}


def counted(*hits: dict[str, Any]) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "visitor_lo": 1,
        "event_time": MIDNIGHT,
        "log_time": MIDNIGHT,
        "hit_type": int(HitType.PAGE_VIEW),
        "interactive": True,
        "excluded": False,
        "flags": 0,
        "wins_order": False,
    }
    rows = [{**dict.fromkeys(COUNTED_COLUMNS), **plain, **hit} for hit in hits]
    return pl.DataFrame(rows, schema=COUNTED_COLUMNS)


def rows_of(
    *hits: dict[str, Any], copies: pl.DataFrame | None = None, rejected: dict[int, int] | None = None
) -> pl.DataFrame:
    none = counted()
    return traffic_rows(OWNER, counted(*hits), none if copies is None else copies, rejected or {})


def totals(rows: pl.DataFrame) -> dict[str, int]:
    """Return the sum of each measure over all rows, without zeros."""
    numbers = rows.select(pl.col(pl.Int64).exclude("generation", "cell").sum()).row(0, named=True)
    return {name: value for name, value in numbers.items() if value}


def test_rows_have_exactly_the_stored_columns_and_their_owner() -> None:
    rows = rows_of({"page_path": "/a"}, {"page_path": "/b"})
    assert rows.schema == pl.Schema(TRAFFIC_COLUMNS)
    assert rows.select("site", "day", "generation").unique().rows() == [("merchants/m/sites/s", 20_000, 3)]


def test_hits_of_one_cell_with_equal_dimensions_fold_into_one_row() -> None:
    rows = rows_of(
        {"page_path": "/a", "event_time": MIDNIGHT + 1},
        {"page_path": "/a", "event_time": MIDNIGHT + CELL - 1},
        {"page_path": "/a", "event_time": MIDNIGHT + CELL},
        {"page_path": "/b"},
    )
    assert sorted(rows.select("cell", "page_path", "hits").rows()) == [
        (MIDNIGHT, "/a", 2),
        (MIDNIGHT, "/b", 1),
        (MIDNIGHT + CELL, "/a", 1),
    ]


def test_each_hit_type_adds_to_its_own_measure() -> None:
    rows = rows_of(
        {"hit_type": HitType.PAGE_VIEW},
        {"hit_type": HitType.SCREEN_VIEW},
        {"hit_type": HitType.EVENT},
        {"hit_type": HitType.PRODUCT_VIEW},
        {"hit_type": HitType.CART_UPDATE, "cart_action": CartAction.ADD},
        {"hit_type": HitType.CART_UPDATE, "cart_action": CartAction.REMOVE},
        {"hit_type": HitType.CHECKOUT_STEP, "checkout_step": 1},
        {"hit_type": HitType.CHECKOUT_STEP, "checkout_step": 2},
        {"hit_type": HitType.REFUND, "refund_amount": 30},
    )
    assert totals(rows) == {
        "hits": 9,
        "pageviews": 2,
        "events": 1,
        "product_views": 1,
        "cart_adds": 1,
        "checkouts_started": 1,
        "refunds": 30,
    }
    assert set(rows["hit_type"]) == {
        "PAGE_VIEW",
        "SCREEN_VIEW",
        "EVENT",
        "PRODUCT_VIEW",
        "CART_UPDATE",
        "CHECKOUT_STEP",
        "REFUND",
    }


def test_winning_order_adds_money_on_its_row_and_items_on_rows_of_their_own() -> None:
    order = {
        "hit_type": HitType.ORDER,
        "currency": "USD",
        "total": 100,
        "tax": 19,
        "shipping": 5,
        "discount": 1,
        "items": [
            {"sku": "a", "category": "x/y", "brand": "b", "unit_price": 20, "quantity": 2},
            {"sku": "c", "category": None, "brand": None, "unit_price": 60, "quantity": 1},
        ],
    }
    rows = rows_of({**order, "wins_order": True}, order).sort("product", nulls_last=False)
    assert rows.select("product", "category", "brand", "hits", "orders", "items_sold", "item_revenue").rows() == [
        (None, None, None, 2, 1, 0, 0),
        ("a", "x/y", "b", 0, 0, 2, 40),
        ("c", None, None, 0, 0, 1, 60),
    ]
    assert rows["currency"].unique().to_list() == ["USD"]
    assert {name: totals(rows)[name] for name in ("gross_revenue", "tax", "shipping", "discounts")} == {
        "gross_revenue": 100,
        "tax": 19,
        "shipping": 5,
        "discounts": 1,
    }


def test_data_quality_of_excluded_hits_stands_in_rows_that_are_not_excluded() -> None:
    rows = rows_of({"excluded": True, "flags": int(HitFlag.BOT_UA), "log_time": MIDNIGHT + 4 * CELL + 1})
    quality = rows.filter(~pl.col("excluded"))
    assert totals(quality) == {"bot_hits": 1, "excluded_hits": 1, "late_hits": 1}
    assert totals(rows.filter("excluded")) == {"hits": 1, "pageviews": 1}


def test_hit_is_late_only_when_more_than_an_hour_passed() -> None:
    assert "late_hits" not in totals(rows_of({"log_time": MIDNIGHT + 4 * CELL}))
    assert totals(rows_of({"log_time": MIDNIGHT + 4 * CELL + 1}))["late_hits"] == 1


def test_copies_and_refusals_count_without_being_hits() -> None:
    copies = counted({"page_path": "/a", "channel": "search", "excluded": True})
    rows = rows_of(copies=copies, rejected={MIDNIGHT + CELL: 5})
    assert totals(rows) == {"duplicate_hits": 1, "rejected_hits": 5}
    assert not rows["excluded"].any()
    assert rows["channel"].to_list() == [None, None]
    assert rows.filter(pl.col("rejected_hits") > 0)["cell"].to_list() == [MIDNIGHT + CELL]


def test_only_interactive_hits_make_a_visitor_count() -> None:
    rows = rows_of(
        {"page_path": "/a", "visitor_lo": 2**64 - 1},
        {"page_path": "/a", "visitor_lo": 7},
        {"page_path": "/a", "visitor_lo": 7},
        {"page_path": "/b", "interactive": False},
    ).sort("page_path")
    stored = rows["visitors"].to_list()
    library = update_theta_sketch(12)
    for key in (2**64 - 1, 7):
        library.update(int(np.uint64(key).astype(np.int64)))
    assert stored[0] == library.compact(True).serialize(False)
    assert stored[1] is None


def test_sample_of_a_busy_cell_does_not_depend_on_the_order_of_hits() -> None:
    hits = [{"visitor_lo": index * 2_654_435_761 % 2**64} for index in range(9_000)]
    (first,) = rows_of(*hits)["visitors"]
    (other,) = rows_of(*reversed(hits))["visitors"]
    assert first == other
    assert abs(compact_theta_sketch.deserialize(first).get_estimate() - 9_000) < 500


def test_no_hits_give_no_rows() -> None:
    rows = rows_of()
    assert rows.is_empty()
    assert rows.columns == list(TRAFFIC_COLUMNS)
    assert set(TRAFFIC_DIMENSIONS) <= set(rows.columns)


def test_day_of_refusals_only_has_a_row_without_dimensions() -> None:
    numbers, texts = numbered_dimensions(counted())
    numbered = counted().drop(VISIT_DIMENSIONS).with_columns(pl.Series(DIMS, numbers))
    for rows in (
        rows_of(rejected={MIDNIGHT: 3}),
        traffic_rows(OWNER, numbered, counted(), {MIDNIGHT: 3}, texts=texts),
    ):
        assert totals(rows) == {"rejected_hits": 3}
        assert rows.select(TRAFFIC_DIMENSIONS).null_count().row(0) == (1,) * len(TRAFFIC_DIMENSIONS)


def test_rows_are_the_same_by_numbers_of_dimensions() -> None:
    hits = counted({"channel": "ads"}, {}, {"channel": "ads", "os": "x"}, {"channel": "ads"})
    numbers, texts = numbered_dimensions(hits)
    numbered = hits.drop(VISIT_DIMENSIONS).with_columns(pl.Series(DIMS, numbers))
    copies = counted({"channel": "ads"}, {})
    expected = traffic_rows(OWNER, hits, copies, {})
    found = traffic_rows(OWNER, numbered, copies, {}, texts=texts)
    assert found.sort(TRAFFIC_DIMENSIONS).equals(expected.sort(TRAFFIC_DIMENSIONS))
    assert texts.row(0) == (None,) * len(VISIT_DIMENSIONS)
    assert len(set(numbers.tolist())) == texts.height == 3
