"""Test `hitmesh load --shape wild`. The expected totals must equal a count over the sent hits."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from collector.admission import Frame
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.keys import hash64
from hitmesh.tools.load import scenery, visitors
from hitmesh.tools.load.expected import Counts, Expected
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.visits import VisitCounts
from hitmesh.tools.load.wild import TWINS
from hitmesh.tools.load.wild_traffic import traffic_of
from tests.reference.hits import NO_CAMPAIGN, RefHit
from tests.reference.visits import visits_of_one
from tests.support.admitting import SERVER, admitted

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
PLAN = LoadPlan(600, 6, sites=4, late_percent=20, duplicates_percent=20, bots_percent=5, shape="wild")


def wild(plan: LoadPlan = PLAN) -> tuple[list[tuple[int, hit_pb2.Hit]], dict[int, dict[str, int]], list[bytes]]:
    """Return the sent hits with their sites, the expected totals, and the batches."""
    traffic, expected = traffic_of(plan, dict.fromkeys(plan.used_sites, SERVER), START_MS), Expected()
    hits, batches = [], []
    for frame in traffic:
        expected.send(frame.facts)
        batches.append(frame.content)
        hits += [(frame.site, hit) for hit in hit_pb2.HitBatch.FromString(frame.content).hits]
    return hits, expected.totals(traffic.visits), batches


def is_bot(hit: hit_pb2.Hit) -> bool:
    return hit.context.device.user_agent in scenery.BOT_AGENTS


def test_every_hit_is_taken_whatever_its_texts_and_every_type_is_there() -> None:
    hits, _, batches = wild()
    for batch in batches:
        found = admitted(Frame(batch, "", "", START_MS + 10_000))
        assert [issue for issue in found.issues if str(issue.outcome) == "REJECTED"] == []
        assert found.rejected.height == 0
    assert {hit.type for _, hit in hits} == set(range(1, 14))
    assert all(len(batch) < 1 << 20 for batch in batches)
    paths = {hit.page_view.url for _, hit in hits if hit.HasField("page_view")}
    assert len(paths) > 100
    assert len({hit.visitor_id for site, hit in hits if site % 2}) == 2
    assert len({hit.visitor_id for site, hit in hits if site % 2 == 0}) > 200


def test_texts_that_share_a_hash_are_among_them() -> None:
    assert len({hash64(text) for text in TWINS}) == 1
    names = {hit.screen_view.screen_name or hit.event.name for _, hit in wild()[0]}
    assert names.issuperset(TWINS)


def test_totals_are_those_of_the_bytes_and_visits_those_of_the_reference() -> None:
    hits, totals, _ = wild()
    counted: dict[int, Counter[str]] = defaultdict(Counter)
    timelines: dict[tuple[int, str], list[RefHit]] = defaultdict(list)
    ids: set[str] = set()
    claims: set[tuple[int, str, str]] = set()
    for site, hit in hits:
        if hit.hit_id in ids:
            counted[site]["duplicate_hits"] += 1
            continue
        ids.add(hit.hit_id)
        adds = {"bot_hits": 1} if is_bot(hit) else counts_of(site, hit, claims)
        counted[site].update(adds)
        event_ms = hit.true_time.ToMilliseconds()
        is_late = event_ms < START_MS - HOUR_MS + 6_000
        counted[site]["late_hits"] += is_late
        if not (is_late or is_bot(hit) or hit.offline):
            timelines[site, hit.visitor_id].append(as_ref(hit))
    visits = {site: VisitCounts(0, 0) for site in totals}
    for (site, _), timeline in timelines.items():
        found = visits_of_one(timeline)[0]
        bounced = sum(visit.interactive_hits == 1 for visit in found)
        visits[site] = VisitCounts(visits[site].visits + len(found), visits[site].bounces + bounced)
    for site, of_site in totals.items():
        assert {name: counted[site][name] for name in (*Counts._fields, "duplicate_hits")} == {
            name: of_site[name] for name in (*Counts._fields, "duplicate_hits")
        }
        assert visits[site]._asdict() == {name: of_site[name] for name in VisitCounts._fields}
    assert sum(site_totals["duplicate_hits"] for site_totals in totals.values()) > 100


def counts_of(site: int, hit: hit_pb2.Hit, claims: set[tuple[int, str, str]]) -> dict[str, int]:
    """Return the counts that a hit of a person adds. A repeated order or refund adds only a hit."""
    payload = hit.WhichOneof("payload")
    adds = {
        "hits": 1,
        "pageviews": int(payload in ("page_view", "screen_view")),
        "events": int(payload == "event"),
        "product_views": int(payload == "product_view"),
        "cart_adds": int(payload == "cart" and hit.cart.action == hit_pb2.CART_ACTION_ADD),
        "checkouts_started": int(payload == "checkout" and hit.checkout.step == 1),
    }
    claim = (site, str(payload), hit.order.order_id or hit.refund.refund_id)
    if payload not in ("order", "refund") or claim in claims:
        return adds
    claims.add(claim)
    if payload == "refund":
        return adds | {"refunds": hit.refund.amount_micros}
    weighed = [item for item in hit.order.items if item.HasField("quantity_exact")]
    counted = [item for item in hit.order.items if not item.HasField("quantity_exact")]
    return adds | {
        "orders": 1,
        "gross_revenue": hit.order.total_micros,
        "tax": hit.order.tax_micros,
        "shipping": hit.order.shipping_micros,
        "discounts": hit.order.discount_micros,
        "items_sold": len(weighed) + sum(item.quantity for item in counted),
        "item_revenue": sum(item.unit_price_micros * 3 // 2 for item in weighed)
        + sum(item.unit_price_micros * item.quantity for item in counted),
    }


def as_ref(hit: hit_pb2.Hit) -> RefHit:
    sent = hit.context.campaign
    campaign = (sent.source, sent.medium, sent.campaign, sent.click_id)
    return RefHit(
        "site",
        hit.visitor_id,
        hit.hit_id,
        hit.true_time.ToMilliseconds(),
        type=hit_pb2.HitType.Name(hit.type).removeprefix("HIT_TYPE_"),
        interactive=not hit.event.HasField("interactive") or hit.event.interactive,
        campaign=campaign if any(campaign) else NO_CAMPAIGN,
    )


def test_visits_of_a_site_whose_visitor_has_too_many_hits_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "MOST_TIMELINE", 60)
    _, totals, _ = wild()
    assert [site for site, of_site in totals.items() if "visits" not in of_site] == [1, 3]
