"""Contributions of settled hits and visits to a report (rules D3, D5, M1, M6, and the ● metrics in rules.md §8).

Every counted hit, ordered item, copy and visit becomes an `Entry`. An entry has an instant, dimension values, and
amounts for additive metrics. The module `report` applies buckets, filters and ratios.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tests.reference.hits import RefHit
from tests.reference.visits import V1, PolicyByDay, RefPolicy, RefVisit, duplicates, visits_of_one

MONEY_METRICS = frozenset({"item_revenue", "gross_revenue", "refunds", "tax", "shipping", "discounts"})

Dimensions = Mapping[str, str | None]


@dataclass(frozen=True)
class Entry:
    """The contribution of a hit, item, copy or visit to a report.

    `visitor` is set only if the entry counts in the metric `visitors`.
    """

    site: str
    instant_ms: int
    excluded: bool
    dimensions: Dimensions
    adds: Mapping[str, int]
    currency: str | None = None
    visitor: str | None = None


@dataclass
class Settled:
    """The result of a settlement: copies, visits, orphans, and the orders that count.

    `refunds` maps the `id()` of each counted REFUND hit to micros and currency. `full_refunds` contains only the
    refunds whose micros are the total of the refunded order.
    """

    counted: list[RefHit] = field(default_factory=list)
    copies: list[RefHit] = field(default_factory=list)
    visits: list[RefVisit] = field(default_factory=list)
    orphans: list[RefHit] = field(default_factory=list)
    winners: list[RefHit] = field(default_factory=list)
    repeats: list[RefHit] = field(default_factory=list)
    refunds: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    full_refunds: dict[int, int] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


def settle(hits: Iterable[RefHit], policy: RefPolicy = V1, by_day: PolicyByDay | None = None) -> Settled:
    """Settle all hits of all sites from scratch.

    The order of `hits` is irrelevant, because `position` gives the log order.
    """
    everything = sorted(hits, key=lambda hit: hit.position)
    copies = duplicates(everything)
    is_copy = {id(hit) for hit in copies}
    settled = Settled([hit for hit in everything if id(hit) not in is_copy], copies)
    timelines: dict[tuple[str, str, bool], list[RefHit]] = defaultdict(list)
    for hit in settled.counted:
        timelines[hit.site, hit.visitor, hit.excluded].append(hit)
    for timeline in timelines.values():
        visits, orphans = visits_of_one(timeline, policy, by_day)
        settled.visits += visits
        settled.orphans += orphans
    decide_orders(settled)
    decide_refunds(settled, orders_are_known=True)
    settled.entries = [*hit_entries(settled), *_all_visit_entries(settled)]
    return settled


def decide_orders(settled: Settled, pending: Iterable[RefHit] = ()) -> None:
    """Assign each order to the first hit in log order that claims the order's site and id.

    Excluded hits have separate claims (D3).

    Hits in `pending` also claim orders, but do not count.
    """
    is_pending = {id(hit) for hit in pending}
    taken = set()
    for hit in sorted([*settled.counted, *pending], key=lambda hit: hit.position):
        if hit.type != "ORDER":
            continue
        claim = (hit.site, hit.order_id, hit.excluded)
        if id(hit) not in is_pending:
            (settled.repeats if claim in taken else settled.winners).append(hit)
        taken.add(claim)


def decide_refunds(settled: Settled, pending: Iterable[RefHit] = (), *, orders_are_known: bool) -> None:
    """If several refunds have the same site and refund id, deduct only the amount of the first refund (D3).

    If `orders_are_known` is true, a refund of 0 deducts the total of the order.
    """
    is_pending = {id(hit) for hit in pending}
    orders = {(hit.site, hit.order_id, hit.excluded): hit for hit in settled.winners}
    taken = set()
    for hit in sorted([*settled.counted, *pending], key=lambda hit: hit.position):
        if hit.type != "REFUND":
            continue
        micros, currency = hit.refund_micros or 0, hit.currency
        order = orders.get((hit.site, hit.order_id, hit.excluded))
        if (claim := (hit.site, hit.refund_id, hit.excluded)) in taken:
            micros = 0
        elif micros == 0 and orders_are_known and order is not None:
            micros, currency = order.total_micros or 0, order.currency
            settled.full_refunds[id(hit)] = micros
        if hit.refund_id is not None:
            taken.add(claim)
        if id(hit) not in is_pending:
            settled.refunds[id(hit)] = (micros, currency)


def hit_entries(settled: Settled) -> Iterator[Entry]:
    """Yield the contributions of counted hits, of their items and of copies. Visits contribute separately."""
    visit_of = {id(hit): visit for visit in settled.visits for hit in visit.hits}
    # An orphan counts under its own dimensions, like a visit with a single hit.
    visit_of |= {id(hit): RefVisit([hit]) for hit in settled.orphans}
    wins = {id(hit) for hit in settled.winners}
    for hit in settled.counted:
        counted = hit
        if id(hit) in settled.refunds:
            micros, currency = settled.refunds[id(hit)]
            counted = replace(hit, refund_micros=micros, currency=currency)
        yield from _entries_of_one(counted, visit_of[id(hit)], id(hit) in wins)
    for hit in settled.copies:
        yield _quality_entry(hit, _hit_dimensions(hit, None), {"duplicate_hits": 1})


def _all_visit_entries(settled: Settled) -> Iterator[Entry]:
    wins = {id(hit) for hit in settled.winners}
    for visit in settled.visits:
        yield from visit_entries(visit, any(id(hit) in wins for hit in visit.hits))


def _entries_of_one(hit: RefHit, visit: RefVisit | None, wins: bool) -> Iterator[Entry]:
    dimensions = _hit_dimensions(hit, visit)
    adds = {
        "hits": 1,
        "pageviews": int(hit.is_view),
        "events": int(hit.type == "EVENT"),
        "product_views": int(hit.type == "PRODUCT_VIEW"),
        "cart_adds": int(hit.type == "CART_UPDATE" and hit.cart_action == "ADD"),
        "checkouts_started": int(hit.type == "CHECKOUT_STEP" and hit.checkout_step == 1),
    }
    if hit.type == "REFUND":
        adds["refunds"] = hit.refund_micros or 0
    if wins:
        adds["orders"] = 1
        adds["gross_revenue"] = hit.total_micros or 0
        adds["tax"] = hit.tax_micros or 0
        adds["shipping"] = hit.shipping_micros or 0
        adds["discounts"] = hit.discount_micros or 0
    visitor = hit.visitor if hit.is_interactive else None
    yield Entry(hit.site, hit.event_time, hit.excluded, dimensions, adds, hit.currency, visitor)
    quality = {
        "excluded_hits": int(hit.excluded),
        "bot_hits": int(hit.excluded),
        "late_hits": int(hit.is_late),
        "clock_skewed_hits": int(hit.clock_skewed),
    }
    yield _quality_entry(hit, dimensions, quality)
    for item in hit.items if wins else ():
        of_item = {**dimensions, "product": item.sku, "category": item.category, "brand": item.brand}
        sold = {"items_sold": item.quantity, "item_revenue": item.unit_price_micros * item.quantity}
        yield Entry(hit.site, hit.event_time, hit.excluded, of_item, sold, hit.currency)


def _quality_entry(hit: RefHit, dimensions: Dimensions, adds: Mapping[str, int]) -> Entry:
    """Return an entry of a data quality metric. The entry has `excluded` = false, even for an excluded hit.

    Data quality metrics count excluded hits in every report.
    """
    return Entry(hit.site, hit.event_time, False, dimensions, adds)


def visit_entries(visit: RefVisit, has_order: bool) -> Iterator[Entry]:
    """Yield the entries of a visit. Each entry has the start time of the visit.

    The exit is a separate entry, because its `page_path` is the exit page (§9).
    """
    first = visit.first
    dimensions = {
        **_visit_dimensions(visit),
        "site": first.site,
        "page_path": visit.landing_page,
        "hostname": first.hostname,
    }
    adds = {
        "visits": 1,
        "bounces": int(visit.interactive_hits == 1),
        "visit_duration_total": visit.duration_ms,
        "visit_views": visit.views,
        "entries": int(visit.views > 0),
        "order_visits": int(has_order),
    }
    yield Entry(first.site, visit.start, first.excluded, dimensions, adds)
    at_exit = {**dimensions, "page_path": visit.exit_page}
    yield Entry(first.site, visit.start, first.excluded, at_exit, {"exits": int(visit.views > 0)})


def _hit_dimensions(hit: RefHit, visit: RefVisit | None) -> dict[str, str | None]:
    """Return the dimensions of the hit and of its visit. A copy has no visit."""
    return {
        **(_visit_dimensions(visit) if visit else {}),
        "site": hit.site,
        "page_path": hit.page_path,
        "hostname": hit.hostname,
        "hit_type": hit.type,
        "event_name": hit.event_name,
        "product": hit.product,
        "category": hit.category,
        "brand": hit.brand,
        "currency": hit.currency,
    }


def _visit_dimensions(visit: RefVisit) -> dict[str, str | None]:
    first = visit.first
    return {
        "channel": first.channel,
        "source": first.source,
        "medium": first.medium,
        "campaign": first.campaign[2] or None,
        "referrer_host": first.referrer_host,
        "landing_page": visit.landing_page,
        "exit_page": visit.exit_page,
        "device_type": first.device_type,
        "browser": first.browser,
        "os": first.os,
    }
