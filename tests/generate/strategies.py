"""Hypothesis strategies that draw small sets of hits close to the limits of the rules.

A visitor's first hit is near midnight, in UTC or in another zone. The times between hits are mostly at the limits of
gap, copy window and cap. Up to 50 hits in a row may have the same distance in time, so that a visit can reach the cap
of 24 hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.generate.facts import BOTS, DIRECT, ORIGINS, PAGES, PEOPLE, PRODUCTS, SHOPS, Client, Origin
from tests.generate.scenarios import GAP, HOUR, MINUTE, SECOND
from tests.reference.hits import RefHit
from tests.reference.visits import COPY_WINDOW_MS, V0, V1, RefPolicy

MIDNIGHT_MS = 1_743_811_200_000
"""2025-04-05T00:00:00Z. In Australia/Lord_Howe, 6 April 2025 has 24.5 hours."""

_STARTS_MS = (
    0,
    -GAP,
    -10 * MINUTE,
    24 * HOUR - MINUTE,
    24 * HOUR - 1,
    13 * HOUR - 5 * MINUTE,  # five minutes before midnight in Lord Howe (summer time)
    18 * HOUR + 10 * MINUTE,  # five minutes before midnight in Kathmandu
    4 * HOUR - SECOND,  # a second before midnight in New York (summer time)
)
_STEPS_MS = (
    0,
    1,
    SECOND,
    V0.gap_ms,
    V0.gap_ms + 1,
    5 * MINUTE,
    15 * MINUTE,
    20 * MINUTE,
    GAP - 1,
    GAP,
    GAP + 1,
    COPY_WINDOW_MS - 1,
    COPY_WINDOW_MS,
    COPY_WINDOW_MS + 1,
    24 * HOUR - GAP,
    24 * HOUR,
)
_RUNS = ((GAP, 48), (GAP - 1, 49), (29 * MINUTE, 50), (20 * MINUTE, 12))


def _hit(type: str, **fields: object) -> RefHit:
    template = RefHit(site="", visitor="", hit_id="", event_time=0, type=type)
    return replace(template, **fields)  # type: ignore[arg-type]  # the fields are those of the literal calls below


_FIRST, _SECOND, *_ = PRODUCTS
_ITEMS = (replace(_FIRST, quantity=2), _SECOND)
_TAKEN_BACK = (replace(_FIRST, quantity=-1), replace(_SECOND, quantity=0))
_PAYLOADS = (
    *(_hit("PAGE_VIEW", page_path=path, hostname="shop.example") for path in (*PAGES, *PAGES[:4])),
    _hit("PAGE_VIEW", page_path=None),
    _hit("SCREEN_VIEW", page_path="two\nlines"),
    _hit("EVENT", event_name="menu_open"),
    _hit("EVENT", event_name="tick", interactive=False),
    *(_hit(type, interactive=False) for type in ("ENGAGEMENT", "ENGAGEMENT", "PERFORMANCE", "IDENTIFY")),
    *(_hit("PRODUCT_VIEW", product=item.sku, category=item.category, brand=item.brand) for item in PRODUCTS[:4]),
    _hit("CART_UPDATE", cart_action="ADD", product=_FIRST.sku, category=_FIRST.category, brand=_FIRST.brand),
    _hit("CART_UPDATE", cart_action="REMOVE", product=_SECOND.sku),
    _hit("CHECKOUT_STEP", checkout_step=1),
    _hit("CHECKOUT_STEP", checkout_step=2),
    _hit("SITE_SEARCH"),
    *(
        _hit("REFUND", interactive=False, refund_micros=micros, currency="USD", order_id=order_id, refund_id=refund_id)
        for micros, order_id, refund_id in (
            (30_000_000, "o1", None),
            (30_000_000, "o1", "r1"),
            (7, "o2", "r1"),
            (0, "o1", "r2"),
            (0, "o3", None),
        )
    ),
    *(
        _hit(
            "ORDER",
            order_id=order_id,
            currency=currency,
            total_micros=100_000_000,
            tax_micros=19_000_000,
            shipping_micros=shipping,
            discount_micros=5,
            items=items,
        )
        for order_id, currency, shipping, items in (
            ("o1", "USD", 0, _ITEMS),
            ("o2", "USD", 4_990_000, ()),
            ("o3", "JPY", 1, _ITEMS[:1]),
            ("o4", "USD", -1, _TAKEN_BACK),
        )
    ),
)

_PAYLOAD = st.sampled_from(_PAYLOADS)
_ORIGIN = st.sampled_from(ORIGINS)
_SHARED_ID = st.sampled_from(("shared-0", "shared-1"))
_RARE = st.integers(0, 31)
_ONE_STEP = st.tuples(st.sampled_from(_STEPS_MS), st.just(1))
_STEPS = st.lists(st.one_of(_ONE_STEP, _ONE_STEP, _ONE_STEP, st.sampled_from(_RUNS)), max_size=15)


@st.composite
def ref_hits(
    draw: st.DrawFn,
    max_hits: int = 60,
    *,
    unique_ids: bool = False,
    unique_orders: bool = False,
) -> list[RefHit]:
    """Draw up to `max_hits` hits of up to four visitors on two sites, in random log order.

    Args:
        draw: the function that Hypothesis passes.
        max_hits: maximum number of hits.
        unique_ids: whether all hit ids differ, so that there are no copies.
        unique_orders: whether only copies repeat an order id or a refund id.
    """
    hits: list[RefHit] = []
    for number in range(draw(st.integers(0, 4))):
        # Each visitor id is used on two sites, where it denotes two different visitors.
        shop, visitor = SHOPS[number % 2], f"visitor-{number // 2}"
        for time_ms in draw(_times())[: max_hits - len(hits)]:
            index = len(hits)
            hit = draw(_one_hit(f"hit-{index}", unique_ids=unique_ids))
            hits.append(replace(hit, site=shop.site, visitor=visitor, event_time=time_ms))
    if not unique_ids:
        hits = (hits + [hits[at] for at in draw(_indices(hits))])[:max_hits]
    if unique_orders:
        hits = [
            replace(
                hit,
                order_id=hit.order_id and f"order-{hit.hit_id}-{hit.visitor}-{hit.event_time}",
                refund_id=hit.refund_id and f"refund-{hit.hit_id}-{hit.visitor}-{hit.event_time}",
            )
            for hit in hits
        ]
    seed = draw(st.integers(0, 2**16))
    if seed:
        Random(seed).shuffle(hits)
    return [replace(hit, position=_position(index)) for index, hit in enumerate(hits)]


def policies() -> st.SearchStrategy[RefPolicy]:
    """Draw visit policies.

    A policy is v1, v1 with an inverted flag, or v1 with a small maximum number of hits. The maximum is so small that
    small sets of hits reach it.
    """
    return st.sampled_from(
        (
            V1,
            V1,
            replace(V1, campaign_splits=False),
            replace(V1, max_hits=5),
            replace(V1, split_at_local_midnight=True, midnight_zone="Asia/Kathmandu"),
            replace(V1, split_at_local_midnight=True, midnight_zone="Australia/Lord_Howe"),
        )
    )


def _position(index: int) -> tuple[int, str, int, int, int]:
    """Return the position of a hit.

    Four hits have the same log time, so their order depends on log, partition, offset and row.
    """
    return (index // 4, f"log-{index % 2}", index % 3, index, index % 5)


def _indices(hits: Sequence[RefHit]) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(hits) - 1), max_size=6) if hits else st.just([])


@st.composite
def _times(draw: st.DrawFn) -> list[int]:
    at_ms = MIDNIGHT_MS + draw(st.sampled_from(_STARTS_MS))
    times = [at_ms]
    for step_ms, count in draw(_STEPS):
        for _ in range(count):
            at_ms += step_ms
            times.append(at_ms)
    return times


@st.composite
def _one_hit(draw: st.DrawFn, own_id: str, *, unique_ids: bool) -> RefHit:
    payload = draw(_PAYLOAD)
    # One drawn number decides all rare cases, so that most hits need only two draws by Hypothesis.
    rare = draw(_RARE)
    client: Client = BOTS[0] if rare in (1, 2) else PEOPLE[rare % 2]
    origin: Origin = draw(_ORIGIN) if rare in (3, 4, 5, 6, 7) else DIRECT
    hit_id = draw(_SHARED_ID) if rare in (8, 9, 10) and not unique_ids else own_id
    return replace(
        payload,
        hit_id=hit_id,
        offline=rare in (11, 12),
        excluded=client.is_bot,
        campaign=origin.campaign,
        channel=origin.channel,
        source=origin.source,
        medium=origin.medium,
        referrer_host=origin.referrer_host,
        device_type=client.device_type,
        browser=client.browser,
        os=client.os,
        user_agent=client.user_agent,
        is_late=rare == 13,
        clock_skewed=rare == 14,
    )
