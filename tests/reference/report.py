"""Build a report: sort entries into rows, add them up, and form the ratios in rules.md §8.

No value is rounded or formatted. Durations are in milliseconds, money is in micros, and a ratio is a pair (numerator,
denominator).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from zoneinfo import ZoneInfo

from tests.reference.civil import bucket_starts, label
from tests.reference.settled import MONEY_METRICS, Entry, Settled

ADDITIVE_METRICS = (
    "hits",
    "pageviews",
    "events",
    "product_views",
    "visits",
    "bounces",
    "visit_duration_total",
    "entries",
    "exits",
    "cart_adds",
    "checkouts_started",
    "item_revenue",
    "orders",
    "items_sold",
    "gross_revenue",
    "refunds",
    "tax",
    "shipping",
    "discounts",
    "order_visits",
    "bot_hits",
    "excluded_hits",
    "duplicate_hits",
    "late_hits",
    "clock_skewed_hits",
)
ORDERS_IN_CURRENCY = "orders_in_currency"
RATIO_METRICS = {
    "bounce_rate": ("bounces", "visits"),
    "visit_duration_avg": ("visit_duration_total", "visits"),
    "views_per_visit": ("visit_views", "visits"),
    "average_order_value": ("gross_revenue", ORDERS_IN_CURRENCY),
    "revenue_per_visit": ("gross_revenue", "visits"),
    "conversion_rate": ("order_visits", "visits"),
}
METRICS = (*ADDITIVE_METRICS, "visitors", "net_revenue", *RATIO_METRICS)

Value = int | tuple[int, int]
_NOTHING = (0, (0, 0))
Report = dict[tuple[str, ...], dict[str, Value]]


def report(
    settled: Settled,
    *,
    sites: Collection[str],
    metrics: Sequence[str] = METRICS,
    grain: str = "NONE",
    zone: str = "UTC",
    first_date: date,
    last_date: date,
    dimensions: Sequence[str] = (),
    include_excluded: bool = False,
    keep: Callable[[Mapping[str, str]], bool] | None = None,
    currency: str = "USD",
) -> Report:
    """Return a report's rows, keyed by (bucket label, dimension values...).

    Rows in which every value is 0 are left out. The report covers the civil dates of the zone from `first_date` to
    `last_date`, both included. The label is the local start of the bucket with its offset, or "" for grain NONE. `keep`
    is the filter. `keep` gets the values of all dimensions of an entry, as reports show these values. Amounts, and the
    orders in ratios of amounts, count only in `currency`. A ratio is a pair (numerator, denominator). `visitors` is the
    exact number of distinct visitors.
    """
    starts = bucket_starts(grain, zone, first_date, last_date)
    sums: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    visitors: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for entry in settled.entries:
        if entry.site not in sites or (entry.excluded and not include_excluded):
            continue
        if not starts[0] <= entry.instant_ms < starts[-1]:
            continue
        if keep is not None and not keep({name: shown(name, entry) for name in DIMENSIONS}):
            continue
        start = starts[bisect_right(starts, entry.instant_ms) - 1]
        bucket = "" if grain == "NONE" else label(start, ZoneInfo(zone))
        row = (bucket, *(shown(name, entry) for name in dimensions))
        for metric, number in entry.adds.items():
            if metric not in MONEY_METRICS or entry.currency == currency:
                sums[row][metric] += number
        if entry.currency == currency:
            sums[row][ORDERS_IN_CURRENCY] += entry.adds.get("orders", 0)
        if entry.visitor is not None:
            visitors[row].add((entry.site, entry.visitor))
    rows = {row: {metric: _value(metric, sums[row], len(visitors[row])) for metric in metrics} for row in sums}
    return {row: values for row, values in rows.items() if any(value not in _NOTHING for value in values.values())}


def _value(metric: str, sums: Mapping[str, int], visitors: int) -> Value:
    if metric == "visitors":
        return visitors
    if metric == "net_revenue":
        return sums["gross_revenue"] - sums["refunds"]
    if metric in RATIO_METRICS:
        numerator, denominator = RATIO_METRICS[metric]
        return sums[numerator], sums[denominator]
    if metric not in ADDITIVE_METRICS:
        raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}")
    return sums[metric]


DIMENSIONS = (
    "site",
    "page_path",
    "hostname",
    "hit_type",
    "event_name",
    "product",
    "category",
    "brand",
    "currency",
    "channel",
    "source",
    "medium",
    "campaign",
    "referrer_host",
    "landing_page",
    "exit_page",
    "device_type",
    "browser",
    "os",
)


def shown(dimension: str, entry: Entry) -> str:
    """Return the value of the dimension as reports show it.

    If the source is missing, reports show `(direct)`. For any other missing dimension, reports show `(not set)` (§9).
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension {dimension!r} is none of {', '.join(DIMENSIONS)}")
    value = entry.dimensions.get(dimension)
    if value is None or value == "":
        return "(direct)" if dimension == "source" else "(not set)"
    return value
