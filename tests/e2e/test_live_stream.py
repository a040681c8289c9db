"""Send hits with current times to the real mesh.

Within seconds, the mesh's counts must equal those of the stream's reference model.

No settlement takes place, because the days of the sent hits close a day after the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.runtime.clock import SystemClock
from tests.e2e.conftest import NewSite
from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.reference.files import read_shop_csv
from tests.reference.hits import RefHit
from tests.reference.streamed import ALLOWED_LATENESS_MS, stream
from tests.reference.visits import V1
from tests.support.comparison import Model, Question, ask, assert_equal, questions
from tests.support.mesh import Mesh
from tests.support.messages import message_of
from tests.support.streams import in_batches, send_all
from tests.support.waiting import eventually

VISIBLE_S = 10.0
SLACK_MS = 4 * MINUTE
"""Maximum time from the first hit to the last comparison.

Hits whose age would exceed the visit gap or the allowed lateness within that time are omitted.
"""
ENOUGH_HITS = 1_000
# The shop's file has no user agents, so the model cannot tell which hits the mesh classifies as bots.
UNKNOWN_TO_MODEL = frozenset({"bot_hits", "excluded_hits"})


@dataclass(frozen=True)
class Shop:
    """A sent file, with its site, its hits, the days of the hits, and the time of sending.

    The last hit has the present time.
    """

    site: str
    hits: Sequence[RefHit]
    sent_ms: int
    first: date
    last: date


def utc_date(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1_000, UTC).date()


def around(first_ms: int, last_ms: int) -> tuple[date, date]:
    """Return a range of dates that contains both times in every zone."""
    return utc_date(first_ms) - timedelta(days=1), utc_date(last_ms) + timedelta(days=1)


def shifted(hits: Sequence[RefHit], site: str, now: int) -> list[RefHit]:
    """Shift the hits in time, so that the last hit is at `now`.

    Omit hits whose age would exceed the visit gap or the allowed lateness during the test.
    """
    by = now - max(hit.event_time for hit in hits)
    moved = [replace(hit, site=site, event_time=hit.event_time + by) for hit in hits]
    bounds = (V1.gap_ms, ALLOWED_LATENESS_MS)
    return [
        hit for hit in moved if not any(bound - SLACK_MS < now - hit.event_time <= bound + MINUTE for bound in bounds)
    ]


@pytest.fixture(scope="module")
def shop(mesh: Mesh, new_site: NewSite, shop_csv: Path) -> Shop:
    """Send the whole shop file at once and return the shop. The first half of the file arrives late."""
    site = new_site("live-shop")
    now = SystemClock().now()
    hits = shifted(read_shop_csv(shop_csv, "")[0], site, now)
    reported = send_all(mesh.channel(), mesh.key, site, in_batches([message_of(hit) for hit in hits], "shop"))
    assert (reported.accepted, reported.issues) == (len(hits), [])
    mesh.wait_visible(site, reported.receipts, VISIBLE_S)
    logged_ms = now + MINUTE  # any log time within this minute gives the same result
    hits = [replace(hit, position=(logged_ms, "log", 0, number, 0)) for number, hit in enumerate(hits)]
    return Shop(site, hits, now, *around(now - 4 * HOUR, now))


@pytest.mark.timeout(SLACK_MS // SECOND)
def test_a_file_of_current_hits_is_counted_at_once_like_the_model(mesh: Mesh, shop: Shop) -> None:
    streamed = stream(shop.hits, shop.sent_ms + MINUTE)
    assert min(len(streamed.late), len(streamed.counted) - len(streamed.late)) >= ENOUGH_HITS
    assert min(len(streamed.open_visits), len(streamed.visits) - len(streamed.open_visits)) >= ENOUGH_HITS / 10
    assert streamed.pending == []
    model = Model(shop.hits, streamed)
    reporter = mesh.reporter()
    for question in questions(shop.site, shop.first, shop.last, with_excluded=True):
        expected = model.answer(question)
        assert expected, f"nothing is compared by {question}"
        assert_equal(ask(reporter, question), expected, question, UNKNOWN_TO_MODEL)
    assert SystemClock().now() - shop.sent_ms < SLACK_MS, "this machine is too slow: what was compared has moved on"


@pytest.mark.timeout(60)
def test_sending_the_file_again_counts_copies_and_nothing_else(mesh: Mesh, shop: Shop) -> None:
    question = Question(shop.site, shop.first, shop.last, metrics=("hits", "orders", "duplicate_hits"))
    (before,) = ask(mesh.reporter(), question).values()
    reported = send_all(
        mesh.channel(), mesh.key, shop.site, in_batches([message_of(hit) for hit in shop.hits], "again")
    )
    mesh.wait_visible(shop.site, reported.receipts, VISIBLE_S)
    (after,) = ask(mesh.reporter(), question).values()
    assert after == {**before, "duplicate_hits": len(shop.hits)}


@pytest.mark.timeout(60)
def test_a_hit_counts_within_seconds_and_the_next_one_takes_its_bounce_back(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("live")
    now = SystemClock().now()
    question = Question(
        site,
        *around(now, now),
        metrics=("hits", "pageviews", "visits", "bounces", "entries", "exits", "visitors"),
    )
    url = "https://shop.example/in"
    first = RefHit(site, "v", "first", now - MINUTE, page_path="/in", hostname="shop.example", url=url)
    second = replace(first, hit_id="second", event_time=now)
    for hit, bounces in (first, 1), (second, 0):
        reported = send_all(mesh.channel(), mesh.key, site, in_batches([message_of(hit)], hit.hit_id))
        assert reported.accepted == 1
        count = 2 - bounces
        expected = {"hits": count, "pageviews": count, "visits": 1, "bounces": bounces, "entries": 1, "exits": 0}
        wait_for(mesh, question, {**expected, "visitors": 1})


def wait_for(mesh: Mesh, question: Question, expected: dict[str, int]) -> None:
    reporter = mesh.reporter()
    eventually(lambda: ask(reporter, question).get(("",)) == expected, f"reports show {expected}", VISIBLE_S)


@pytest.mark.timeout(60)
def test_complete_through_passes_the_send_time_without_dirty_days(mesh: Mesh, shop: Shop) -> None:
    def is_live() -> bool:
        fresh = mesh.reporter().GetFreshness(reporter_pb2.GetFreshnessRequest(site=shop.site), timeout=60)
        return fresh.dirty_days == 0 and fresh.freshness.complete_through.ToMilliseconds() > shop.sent_ms

    eventually(is_live, "complete_through passes the time of sending", 30.0)
