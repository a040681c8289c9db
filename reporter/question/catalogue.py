"""The catalogue: metrics, dimensions and the allowed pairs (journey step 7).

A part is a measure or sketch in settled rows. This module defines the parts of each metric (rules §8), and the column
that a dimension selects for each part. This module also defines which metrics cannot be combined with a dimension
(rules §9).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.rollup_rows import RowSource

METRIC_VERSION: Final = "v1"
VISITORS: Final = "visitors"
ORDERS_IN_CURRENCY: Final = "orders_in_currency"


class Scope(StrEnum):
    """The cell in which a metric is counted: each hit's own cell, or the cell in which the visit started."""

    HIT = "hit"
    VISIT = "visit"


class ColumnType(StrEnum):
    """The type of a metric's values."""

    COUNT = "count"
    MONEY = "money"
    DURATION = "duration"
    RATIO = "ratio"


class Unit(StrEnum):
    """The unit of a metric. An answer replaces `CURRENCY` with the site's currency code."""

    HITS = "hits"
    PAGEVIEWS = "pageviews"
    VISITS = "visits"
    VISITORS = "visitors"
    ORDERS = "orders"
    ITEMS = "items"
    CURRENCY = "currency"
    MS = "ms"
    ONE = "1"


class Kind(StrEnum):
    """The formula with which a metric is computed from its parts."""

    SUM = "sum"  # parts[0]
    DIFFERENCE = "difference"  # parts[0] − parts[1]
    RATIO = "ratio"  # parts[0] / parts[1]
    UNION = "union"  # the sketch parts[0]


@dataclass(frozen=True, slots=True)
class Part:
    """A measure or sketch in settled rows.

    `column` is the name in settled rows. `page_column` is the column that page_path selects for this part. If
    `by_currency` is true, only rows in the site's currency count, and the answer names the other currencies (rule M3).
    """

    source: RowSource
    column: str
    page_column: str = "page_path"
    by_currency: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of a metric."""

    id: str
    type: ColumnType
    scope: Scope
    unit: Unit
    kind: Kind
    parts: tuple[str, ...]
    description: str

    @property
    def has_money(self) -> bool:
        """Whether a part is an amount of money, or counts orders by currency."""
        return any(PARTS[part].by_currency for part in self.parts)


@dataclass(frozen=True, slots=True)
class Dimension:
    """The definition of a dimension."""

    id: str
    scope: Scope
    description: str


def _traffic(*names: str, by_currency: bool = False) -> dict[str, Part]:
    return {name: Part(RowSource.TRAFFIC, name, by_currency=by_currency) for name in names}


_COUNTS = (
    "hits",
    "pageviews",
    "events",
    "product_views",
    "cart_adds",
    "checkouts_started",
    "orders",
    "items_sold",
    "bot_hits",
    "excluded_hits",
    "duplicate_hits",
    "rejected_hits",
    "late_hits",
    "clock_skewed_hits",
)
_AMOUNTS = ("item_revenue", "gross_revenue", "refunds", "tax", "shipping", "discounts")
_OF_VISITS = ("visits", "bounces", "visit_duration_total", "visit_views", "entries", "order_visits")

PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    _traffic(*_COUNTS, VISITORS)
    | _traffic(*_AMOUNTS, by_currency=True)
    | {ORDERS_IN_CURRENCY: Part(RowSource.TRAFFIC, "orders", by_currency=True)}
    | {name: Part(RowSource.VISITS, name, "landing_page") for name in _OF_VISITS}
    | {"exits": Part(RowSource.VISITS, "exits", "exit_page")}
)


def _count(id_: str, unit: Unit, description: str) -> Metric:
    scope = Scope.HIT if PARTS[id_].source is RowSource.TRAFFIC else Scope.VISIT
    return Metric(id_, ColumnType.COUNT, scope, unit, Kind.SUM, (id_,), description)


def needs_visits(metric: Metric) -> bool:
    """Return whether any part of a metric counts visits."""
    return any(PARTS[part].source is RowSource.VISITS for part in metric.parts)


def _amount(id_: str, description: str) -> Metric:
    return Metric(id_, ColumnType.MONEY, Scope.HIT, Unit.CURRENCY, Kind.SUM, (id_,), description)


def _ratio(id_: str, scope: Scope, unit: Unit, parts: tuple[str, str], description: str) -> Metric:
    return Metric(id_, ColumnType.RATIO, scope, unit, Kind.RATIO, parts, description)


_IN_ORDER = (
    _count("hits", Unit.HITS, "Hits of any type, each counted once."),
    _count("pageviews", Unit.PAGEVIEWS, "Page views and screen views."),
    _count("events", Unit.HITS, "Hits of type EVENT."),
    _count("product_views", Unit.HITS, "Views of a product."),
    _count("visits", Unit.VISITS, "Visits that start in the bucket."),
    Metric(
        VISITORS,
        ColumnType.COUNT,
        Scope.HIT,
        Unit.VISITORS,
        Kind.UNION,
        (VISITORS,),
        "Distinct visitors with an interactive hit; not a sum over buckets. Exact up to about 7,000 in 15 minutes and "
        "16,000 in a bucket, then estimated with bounds.",
    ),
    _count("bounces", Unit.VISITS, "Visits with exactly one interactive hit."),
    _ratio("bounce_rate", Scope.VISIT, Unit.ONE, ("bounces", "visits"), "Bounces divided by visits."),
    Metric(
        "visit_duration_total",
        ColumnType.DURATION,
        Scope.VISIT,
        Unit.MS,
        Kind.SUM,
        ("visit_duration_total",),
        "Time from the first to the last hit of each visit, added up; 0 for a visit of one hit.",
    ),
    _ratio(
        "visit_duration_avg",
        Scope.VISIT,
        Unit.MS,
        ("visit_duration_total", "visits"),
        "Time from the first to the last hit of each visit, added up and divided by visits.",
    ),
    _ratio(
        "views_per_visit",
        Scope.VISIT,
        Unit.ONE,
        ("visit_views", "visits"),
        "Page views within visits, divided by visits; both count in the bucket in which the visit starts.",
    ),
    _count("entries", Unit.VISITS, "Visits with a page view; page_path is the landing page."),
    _count("exits", Unit.VISITS, "Visits with a page view; page_path is the exit page."),
    _count("cart_adds", Unit.HITS, "Additions to a cart."),
    _count("checkouts_started", Unit.HITS, "Hits that report step 1 of a checkout."),
    _amount("item_revenue", "Price × quantity of ordered items."),
    _count("orders", Unit.ORDERS, "Distinct orders; a repeated order id counts once."),
    _count("items_sold", Unit.ITEMS, "Quantity of ordered items."),
    _amount("gross_revenue", "Order totals at the time of the order; never changed by refunds."),
    _amount("refunds", "Refunded amounts at the time of the refund."),
    Metric(
        "net_revenue",
        ColumnType.MONEY,
        Scope.HIT,
        Unit.CURRENCY,
        Kind.DIFFERENCE,
        ("gross_revenue", "refunds"),
        "Gross revenue minus refunds; may be negative.",
    ),
    _amount("tax", "Tax of orders."),
    _amount("shipping", "Shipping of orders."),
    _amount("discounts", "Discounts of orders."),
    _ratio(
        "average_order_value",
        Scope.HIT,
        Unit.CURRENCY,
        ("gross_revenue", ORDERS_IN_CURRENCY),
        "Gross revenue divided by orders; only orders in the site's currency count.",
    ),
    _ratio(
        "revenue_per_visit",
        Scope.VISIT,
        Unit.CURRENCY,
        ("gross_revenue", "visits"),
        "Gross revenue in the bucket, divided by visits that start in the bucket.",
    ),
    _count("order_visits", Unit.VISITS, "Visits with at least one order."),
    _ratio("conversion_rate", Scope.VISIT, Unit.ONE, ("order_visits", "visits"), "Order visits divided by visits."),
    _count("bot_hits", Unit.HITS, "Hits with a bot's user agent."),
    _count("excluded_hits", Unit.HITS, "Hits left out of other metrics by default."),
    _count("duplicate_hits", Unit.HITS, "Copies of earlier hits; counted in no other metric."),
    _count("rejected_hits", Unit.HITS, "Refused hits, at the time of the refusal. Works only with dimension site."),
    _count("late_hits", Unit.HITS, "Hits received more than 60 minutes after the event; copies do not count."),
    _count("clock_skewed_hits", Unit.HITS, "Hits whose event time was corrected, because a clock was ahead."),
)
METRICS: Final[Mapping[str, Metric]] = MappingProxyType({metric.id: metric for metric in _IN_ORDER})

DIMENSIONS: Final[Mapping[str, Dimension]] = MappingProxyType(
    {
        dimension.id: dimension
        for dimension in (
            Dimension(
                "page_path", Scope.HIT, "Path of the page: the landing page for visits, the exit page for exits."
            ),
            Dimension("hostname", Scope.HIT, "Host of the page; for visits the host of the first hit."),
            Dimension(
                "channel",
                Scope.VISIT,
                "Channel of the visit: paid, email, social, search, ai_assistant, referral, direct.",
            ),
            Dimension(
                "source",
                Scope.VISIT,
                "Source of the visit, as the campaign or the list of referrers spells it; (direct) if unknown.",
            ),
            Dimension("referrer_host", Scope.VISIT, "Host of the page that led to the visit."),
            Dimension("device_type", Scope.VISIT, "Type of device: desktop, mobile, tablet, tv, console, bot, other."),
            Dimension("browser", Scope.VISIT, "Family of the browser."),
            Dimension("os", Scope.VISIT, "Family of the operating system."),
            Dimension("product", Scope.HIT, "SKU of the product."),
            Dimension("category", Scope.HIT, "Category of the product, levels joined by '/'."),
            Dimension("brand", Scope.HIT, "Brand of the product."),
            Dimension("site", Scope.VISIT, "Full name of the site."),
        )
    }
)

ITEM_DIMENSIONS: Final = frozenset({"product", "category", "brand"})
ITEM_METRICS: Final = ("items_sold", "item_revenue", "product_views", "cart_adds")


@dataclass(frozen=True, slots=True)
class Conflict:
    """The reason why a metric excludes a dimension, the remedy, and the metrics that work with the dimension."""

    reason: ErrorReason
    message: str
    works_with: tuple[str, ...] = ()


def conflict(metric: Metric, dimension: str) -> Conflict | None:
    """Return the reason why a metric cannot be combined with a dimension, or None for an allowed pair (rules §9)."""
    if "rejected_hits" in metric.parts and dimension != "site":
        return Conflict(
            ErrorReason.REJECTED_METRIC_DIMENSION,
            f"{metric.id} has no {dimension}: refused hits have no dimension except site; leave out {dimension}",
        )
    if dimension not in ITEM_DIMENSIONS:
        return None
    works = f"with {dimension} ask for {', '.join(ITEM_METRICS)}"
    if any(PARTS[part].source is RowSource.VISITS for part in metric.parts):
        return Conflict(
            ErrorReason.VISIT_METRIC_HIT_DIMENSION,
            f"{metric.id} counts visits, but {dimension} has a value per hit: {works}",
            ITEM_METRICS,
        )
    if metric.id not in ITEM_METRICS:
        return Conflict(
            ErrorReason.ORDER_METRIC_ITEM_DIMENSION,
            f"{metric.id} counts whole hits or orders, but {dimension} has a value per item: {works}",
            ITEM_METRICS,
        )
    return None


def allowed_dimensions(metric: Metric) -> tuple[str, ...]:
    """Return the dimensions that can be combined with a metric, in catalogue order."""
    return tuple(dimension for dimension in DIMENSIONS if conflict(metric, dimension) is None)


def column_of(part: Part, dimension: str) -> str:
    """Return the column in settled rows that a dimension selects for a part."""
    return part.page_column if dimension == "page_path" else dimension
