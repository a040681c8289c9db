"""Test the pure parts of `hitmesh load`: the schedule, content and expected counts of hits.

The generator returns encoded hits and their expected counts. The tests decode the hits and count them again. The
reference model builds the visits.
"""

from __future__ import annotations

import io
import json
import pickle
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from collector.classify.classifier import Classifier
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.tools.load import encoding, scenery
from hitmesh.tools.load.expected import Counts, Expected
from hitmesh.tools.load.plan import LoadPlan, site_name
from hitmesh.tools.load.producer import READY, encode
from hitmesh.tools.load.traffic import COPY_AFTER_MS, LATE_MS, OUT_OF_ORDER_MS, Frame, Traffic
from hitmesh.tools.load.visits import QUIET, VisitCounts, count_visits
from tests.reference.hits import NO_CAMPAIGN, RefHit
from tests.reference.visits import visits_of_one

START_MS = 1_790_000_000_000
MINUTE_MS = 60_000
MIXED = LoadPlan(
    rate=400,
    duration_s=40,
    sites=6,
    zipf=1.2,
    late_percent=4,
    out_of_order_percent=6,
    duplicates_percent=5,
    bots_percent=10,
    seed=11,
)


@dataclass(frozen=True)
class Decoded:
    """The frames and batches that the collector receives during a load run."""

    frames: Sequence[Frame]
    batches: Sequence[hit_pb2.HitBatch]
    visits: dict[int, VisitCounts]


def decoded(plan: LoadPlan, start_ms: int = START_MS) -> Decoded:
    traffic = Traffic(plan, {site: f"key-{site}" for site in plan.used_sites}, start_ms)
    frames = list(traffic)
    return Decoded(frames, [hit_pb2.HitBatch.FromString(frame.content) for frame in frames], traffic.visits)


@pytest.fixture(scope="module")
def mixed() -> Decoded:
    return decoded(MIXED)


# ------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize(("rate", "frame_hits"), [(0.5, 1), (25, 2), (400, 40), (5_000, 100)])
def test_frame_has_no_more_hits_than_happen_in_a_tenth_of_a_second(rate: float, frame_hits: int) -> None:
    assert LoadPlan(rate=rate, duration_s=10).frame_hits == frame_hits


def test_frames_hold_every_hit_once_and_are_due_when_their_last_hit_has_happened() -> None:
    plan = LoadPlan(rate=300, duration_s=1.03)
    hits = [hit for frame in range(plan.frames) for hit in plan.hits_of(frame)]
    assert hits == list(range(309))
    assert [round(plan.due_s(frame), 4) for frame in (0, 1, 10)] == [0.0967, 0.1967, 1.0267]
    assert plan.happens_ms(29) == 96


def test_share_of_a_site_falls_with_its_rank() -> None:
    plan = LoadPlan(rate=100_000, duration_s=3, sites=4, zipf=1.0)
    assert [round(share, 3) for share in plan.shares] == [0.48, 0.24, 0.16, 0.12]
    counted = Counter(plan.site_of_frames)
    for site, share in enumerate(plan.shares):
        assert counted[site] / plan.frames == pytest.approx(share, abs=0.03)


def test_zipf_of_0_gives_all_sites_equal_shares_and_sites_without_a_frame_are_not_used() -> None:
    assert LoadPlan(rate=1, duration_s=1, sites=5, zipf=0).shares == [0.2] * 5
    assert len(LoadPlan(rate=10, duration_s=2, sites=1_000).used_sites) <= 20
    assert site_name(0) == "merchants/demo/sites/load-0001"


# ---------------------------------------------------------------------------------------------------------- traffic


def test_same_arguments_give_the_same_bytes(mixed: Decoded) -> None:
    assert decoded(MIXED).frames == mixed.frames
    assert decoded(replace(MIXED, seed=12)).frames != mixed.frames


def test_another_start_moves_the_same_hits_and_gives_them_other_ids(mixed: Decoded) -> None:
    later = decoded(MIXED, START_MS + 5_000)
    for before, after in zip(mixed.batches, later.batches, strict=True):
        for hit, other in zip(before.hits, after.hits, strict=True):
            assert other.true_time.ToMilliseconds() - hit.true_time.ToMilliseconds() == 5_000
            assert other.hit_id != hit.hit_id
            assert (other.page_view, other.context) == (hit.page_view, hit.context)


def test_frame_is_a_batch_of_a_single_site_with_its_announced_number_of_hits(mixed: Decoded) -> None:
    for frame, batch in zip(mixed.frames, mixed.batches, strict=True):
        assert batch.ingest_key == f"key-{frame.site}"
        assert frame.hits == len(batch.hits) == 40
    assert len({batch.batch_id for batch in mixed.batches}) == len(mixed.batches)


def test_copies_are_the_same_bytes_3_to_60_s_after_the_first(mixed: Decoded) -> None:
    first: dict[str, tuple[hit_pb2.Hit, int]] = {}
    copies = 0
    for hit, at_ms, _ in _hits_as_sent(mixed):
        if hit.hit_id not in first:
            first[hit.hit_id] = (hit, at_ms)
            continue
        original, sent_ms = first[hit.hit_id]
        copies += 1
        assert hit == original
        assert COPY_AFTER_MS[0] <= at_ms - sent_ms <= COPY_AFTER_MS[1]
    assert copies / MIXED.total_hits == pytest.approx(0.05, abs=0.015)
    assert copies == sum(len(frame.facts.copies) for frame in mixed.frames)


def test_hits_are_on_time_out_of_order_or_late_and_never_in_between(mixed: Decoded) -> None:
    ages = [at_ms - hit.true_time.ToMilliseconds() + START_MS for hit, at_ms, _ in _fresh(mixed)]
    late = [age for age in ages if age > OUT_OF_ORDER_MS[1]]
    early = [age for age in ages if OUT_OF_ORDER_MS[0] - 50 <= age <= OUT_OF_ORDER_MS[1]]
    assert all(LATE_MS[0] <= age <= LATE_MS[1] for age in late)
    assert len(late) / len(ages) == pytest.approx(0.04, abs=0.01)
    assert len(early) / len(ages) == pytest.approx(0.06, abs=0.01)
    # Most hits keep their time. If the visitor already has a hit at the same time, the time of the new hit is changed
    # by a few ms. Only the hits that are late or early on purpose are moved further.
    assert all(-50 < age <= 0 for age in set(ages) - set(late) - set(early))


def test_facts_of_frames_are_what_their_bytes_count(mixed: Decoded) -> None:
    counted: dict[int, Counter[str]] = defaultdict(Counter)
    for hit, at_ms, site in _fresh(mixed):
        counted[site].update(_counts_of(hit, at_ms))
    expected = Expected()
    for frame in mixed.frames:
        expected.send(frame.facts)
    for site, totals in expected.totals(mixed.visits).items():
        assert {metric: counted[site][metric] for metric in Counts._fields} == {
            metric: totals[metric] for metric in Counts._fields
        }
    assert sum(counted[site]["orders"] for site in counted) > 100


def test_visits_are_those_of_the_reference_model(mixed: Decoded) -> None:
    timelines: dict[tuple[int, str], list[RefHit]] = defaultdict(list)
    for hit, at_ms, site in _fresh(mixed):
        is_late = START_MS + at_ms - hit.true_time.ToMilliseconds() >= LATE_MS[0]
        if not is_late and hit.context.device.user_agent not in scenery.BOT_AGENTS:
            timelines[site, hit.visitor_id].append(_as_ref(hit))
    visits: Counter[int] = Counter()
    bounces: Counter[int] = Counter()
    for (site, _), hits in timelines.items():
        found, orphans = visits_of_one(hits)
        assert not orphans
        visits[site] += len(found)
        bounces[site] += sum(visit.interactive_hits == 1 for visit in found)
    assert mixed.visits == {site: VisitCounts(visits[site], bounces[site]) for site in mixed.visits}
    assert 2_000 < sum(visits.values()) < 8_000


def test_a_visitor_has_about_five_hits_and_some_come_back_by_a_campaign(mixed: Decoded) -> None:
    hits = Counter(hit.visitor_id for hit, _, _ in _fresh(mixed))
    assert 4 < sum(hits.values()) / len(hits) < 8


def test_only_crawlers_are_classified_as_bots() -> None:
    classifier = Classifier()
    agents = (*scenery.AGENTS, *scenery.BOT_AGENTS)
    flags = classifier.user_agents(pl.Series(agents))["is_bot"].to_list()
    assert flags == [False] * len(scenery.AGENTS) + [True] * len(scenery.BOT_AGENTS)
    assert len(set(scenery.AGENTS)) >= 24
    assert len(set(scenery.REFERRERS)) >= 24


def _hits_as_sent(run: Decoded) -> list[tuple[hit_pb2.Hit, int, int]]:
    """Return every hit with its site and its scheduled time in ms after the start."""
    return [
        (hit, MIXED.happens_ms(number), frame.site)
        for frame, batch in zip(run.frames, run.batches, strict=True)
        for number, hit in zip(MIXED.hits_of(frame.number), batch.hits, strict=True)
    ]


def _fresh(run: Decoded) -> list[tuple[hit_pb2.Hit, int, int]]:
    """Return the hits without copies."""
    first: dict[str, tuple[hit_pb2.Hit, int, int]] = {}
    for hit, at_ms, site in _hits_as_sent(run):
        first.setdefault(hit.hit_id, (hit, at_ms, site))
    return list(first.values())


def _counts_of(hit: hit_pb2.Hit, at_ms: int) -> dict[str, int]:
    late = int(START_MS + at_ms - hit.true_time.ToMilliseconds() > 60 * MINUTE_MS)
    if hit.context.device.user_agent in scenery.BOT_AGENTS:
        return {"bot_hits": 1, "late_hits": late}
    payload = hit.WhichOneof("payload")
    return {
        "hits": 1,
        "pageviews": int(payload == "page_view"),
        "events": int(payload == "event"),
        "orders": int(payload == "order"),
        "gross_revenue": hit.order.total_micros,
        "late_hits": late,
        "tax": hit.order.tax_micros,
        "shipping": hit.order.shipping_micros,
        "item_revenue": hit.order.subtotal_micros,
        "items_sold": sum(item.quantity for item in hit.order.items),
    }


def _as_ref(hit: hit_pb2.Hit) -> RefHit:
    tags = parse_qs(urlsplit(hit.page_view.url).query)
    campaign = tuple(tags.get(f"utm_{name}", [""])[0] for name in ("source", "medium", "campaign"))
    source, medium, name = campaign
    return RefHit(
        "site",
        hit.visitor_id,
        hit.hit_id,
        hit.true_time.ToMilliseconds(),
        type=hit_pb2.HitType.Name(hit.type).removeprefix("HIT_TYPE_"),
        campaign=(source, medium, name, "") if any(campaign) else NO_CAMPAIGN,
    )


@pytest.mark.parametrize(
    ("hits", "visits", "bounces"),
    [
        ([(0, 0), (30 * MINUTE_MS, 0)], 1, 0),
        ([(0, 0), (30 * MINUTE_MS + 1, 0)], 2, 2),
        ([(50 * MINUTE_MS, 0), (0, 0), (25 * MINUTE_MS, 0)], 1, 0),
        ([(0, 1), (5 * MINUTE_MS, 0), (10 * MINUTE_MS, 2), (15 * MINUTE_MS, 1)], 3, 2),
        ([(0, 0), (20 * MINUTE_MS, 0), (10 * MINUTE_MS, 2)], 2, 1),
        ([(0, 3), (40 * MINUTE_MS, 0), (50 * MINUTE_MS, 3)], 3, 3),
        ([(0, QUIET), (1, 0), (29 * MINUTE_MS, QUIET), (58 * MINUTE_MS, 0), (89 * MINUTE_MS, QUIET)], 1, 0),
        ([(0, 1), (20 * MINUTE_MS, QUIET - 1), (40 * MINUTE_MS, 0)], 1, 0),
        ([(0, 1), (20 * MINUTE_MS, QUIET - 2), (40 * MINUTE_MS, 0)], 2, 2),
        ([], 0, 0),
    ],
)
def test_visits_follow_gap_and_campaign(hits: list[tuple[int, int]], visits: int, bounces: int) -> None:
    assert count_visits(hits) == (visits, bounces)


# --------------------------------------------------------------------------------------------------------- encoding


def test_sequenced_frame_is_a_stream_request_with_the_batch_in_it(mixed: Decoded) -> None:
    request = collector_pb2.StreamHitsRequest.FromString(encoding.sequenced(70_000, mixed.frames[0].content))
    assert request.batch.batch_seq == 70_000
    assert request.batch.batch == mixed.batches[0]


@pytest.mark.parametrize("event_ms", [1_790_000_000_000, 1_790_000_000_001, 1_789_999_999_999, 268_435_456_000])
def test_time_of_a_hit_is_kept_to_the_millisecond(event_ms: int) -> None:
    content = encoding.hit(encoding.event("chat_open"), encoding.visitor(b"v", b""), b"h", event_ms)
    (hit,) = hit_pb2.HitBatch.FromString(content).hits
    assert hit.true_time.ToMilliseconds() == event_ms
    assert (hit.hit_id, hit.visitor_id, hit.event.name) == ("h", "v", "chat_open")


def test_encoding_process_sends_ready_then_every_frame_then_the_visits() -> None:
    plan = LoadPlan(rate=50, duration_s=2, sites=2)
    keys = dict.fromkeys(plan.used_sites, "key")
    order = json.dumps({"plan": asdict(plan), "keys": keys, "start_ms": START_MS}).encode()
    out = io.BytesIO()
    encode(io.BytesIO(order + b"\n"), out)
    out.seek(0)
    messages = [pickle.load(out) for _ in range(plan.frames + 2)]
    assert messages[0] == READY
    assert messages[1:-1] == list(Traffic(plan, keys, START_MS))
    visits, cpu_s = messages[-1]
    assert set(visits) == set(keys)
    assert cpu_s > 0
