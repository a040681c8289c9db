"""If rejected hits are corrected and replayed, reports are the same as if the hits had been correct at first.

A hit may be replayed several times. The hits go through the real collector, over gRPC, with the client's sender. The
ledger counts each replay as a new receipt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st

from collector.classify import Classifier
from control.ledger import site_ledger
from control.rpc.rejected.messages import rejected_message
from hitmesh.api.collector.v1 import json_pb2_grpc
from hitmesh.api.control.v1 import rejected_hits_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.edits import edits_of
from hitmesh.client.mending import Mended, mended
from hitmesh.client.mesh import Mesh
from hitmesh.client.replaying import Outcome, replay
from hitmesh.model.refusals import RefusalRange
from hitmesh.model.sites import IngestKey, KeyKind
from tests.reference.hits import RefHit
from tests.support.collectors import Backend, GatedLog, running
from tests.support.examples import examples
from tests.support.small_mesh import Rows, SmallMesh

NOON = 20_000 * 86_400_000 + 12 * 3_600_000
MINUTE = 60_000
RIGHT, WRONG, RIVAL = (f"merchants/{name}" for name in ("demo/sites/right", "demo/sites/wrong", "rival/sites/shop"))
KEY, RIVAL_KEY = "hms_a-server-key-of-the-merchant-demo", "hms_a-server-key-of-the-merchant-rival"
OF_ARRIVALS = ("duplicate_hits", "rejected_hits", "late_hits")
CURE = edits_of([], ["visitor=visitorId"], [])


class Wanted(NamedTuple):
    """The random choices for a hit.

    `minutes` counts back from noon. If `is_refused` is true, the sender first sends the hit in a form that admission
    refuses.
    """

    visitor: int
    minutes: int
    has_id: bool
    has_time: bool
    is_order: bool
    is_refused: bool


WANTED = st.builds(
    Wanted, st.integers(0, 2), st.integers(0, 200), st.booleans(), st.booleans(), st.booleans(), st.booleans()
)


def json_hit(number: int, wanted: Wanted, *, is_wrong: bool) -> dict[str, object]:
    """Return a hit in JSON. In a wrong hit, the field with the visitor's id has a wrong name."""
    hit: dict[str, object] = {("visitor" if is_wrong else "visitorId"): f"v{wanted.visitor}"}
    if wanted.has_id:
        hit["hitId"] = f"h{number}"
    if wanted.has_time:
        at_s = NOON // 1_000 - 60 * wanted.minutes
        hit["clientCreateTime"] = _text(at_s)
    if wanted.is_order:
        order = {"orderId": f"o{number}", "totalMicros": 5_000_000, "currency": "USD"}
        return hit | {"type": "HIT_TYPE_ORDER", "order": order}
    return hit | {"type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": f"https://a.example/{number % 3}"}}


def _text(seconds: int) -> str:
    stamp = hit_pb2.Hit()
    stamp.client_create_time.FromSeconds(seconds)
    return stamp.client_create_time.ToJsonString()


class Doors(NamedTuple):
    """A mesh, with the calls by which senders reach its collector."""

    small: SmallMesh
    collector: json_pb2_grpc.JsonCollectorServiceStub
    mesh: Callable[[str], Mesh]

    def send(self, site: str, hits: Sequence[dict[str, object]]) -> None:
        batch = {"ingestKey": KEY, "batchId": "b1", "clientSendTime": _text(NOON // 1_000), "hits": list(hits)}
        body = httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(batch).encode())
        self.collector.SendJsonHits(body, metadata=(("hitmesh-site", site),))

    def kept(self, site: str) -> list[rejected_hits_pb2.RejectedHit]:
        self.small.stream()
        page = self.small.stores.rejected.page(RefusalRange(site, 0, 10**15), None, 1_000)
        return [rejected_message(hit) for hit in page.hits if hit.reason == "MISSING_FIELD"]

    def replay(self, made: Sequence[Mended], key: str = KEY) -> list[Outcome]:
        return replay(self.mesh(key), made)

    def reports(self, site: str) -> Rows:
        """Return a site's rows without the counts that depend on when, or how often, a hit arrives."""
        found: Rows = {}
        for (source, excluded, of_site, cell, dimensions), values in self.small.rows().items():
            kept = {name: value for name, value in values.items() if name not in OF_ARRIVALS}
            if of_site == site and kept:
                found[source, excluded, "", cell, dimensions] = kept
        return found

    def received(self, site: str) -> tuple[int, int, int, int]:
        """Return the ledger's numbers of received, rejected and accepted hits, and the imbalance."""
        self.small.runner.flush()
        stores = self.small.stores
        found = site_ledger(
            stores.ledger.read(site),
            stores.generations.current(site, 0, 10**6),
            stores.generations.ledger(site, 0, 10**6),
            stores.dirty.marks(site),
        )
        totals = found.totals
        return totals.received.hits, totals.rejected.hits, totals.accepted.hits, found.imbalance


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def opened(classifier: Classifier) -> Iterator[Doors]:
    small = SmallMesh(NOON, sites=[RIGHT, WRONG, RIVAL])
    small.sent += [RefHit(site, "v", "h", NOON) for site in (RIGHT, WRONG)]
    directory = small.stores.directory
    directory.create_key(IngestKey("k1", "merchants/demo", KeyKind.SERVER), KEY)
    directory.create_key(IngestKey("k2", "merchants/rival", KeyKind.SERVER), RIVAL_KEY)
    backend = Backend(small.stores, GatedLog(small.stores.log), small.clock, classifier)
    with running(backend) as collector:
        stub = json_pb2_grpc.JsonCollectorServiceStub(collector.channel)
        yield Doors(small, stub, lambda key: Mesh(collector.channel, key))


@given(wanted=st.lists(WANTED, min_size=1, max_size=8), times=st.integers(1, 2), sender_repeats=st.booleans())
@examples(6)
def test_replays_report_the_same_as_hits_sent_right_at_once(
    classifier: Classifier, wanted: list[Wanted], times: int, sender_repeats: bool
) -> None:
    right = [json_hit(number, each, is_wrong=False) for number, each in enumerate(wanted)]
    sent = [json_hit(number, each, is_wrong=each.is_refused) for number, each in enumerate(wanted)]
    refused = sum(each.is_refused for each in wanted)
    for doors in opened(classifier):
        doors.send(RIGHT, right)
        doors.send(WRONG, sent)
        made = [mended(each, CURE) for each in doors.kept(WRONG)]
        assert len(made) == refused
        doors.small.clock.advance(90 * MINUTE)
        for _ in range(times):
            assert all(outcome.is_accepted for outcome in doors.replay(made))
        if sender_repeats:
            # The sender corrects the fault and sends its batch again. Hits without a time get the time of the new
            # attempt.
            doors.send(WRONG, right)
        doors.small.settle()
        assert doors.reports(WRONG) == doors.reports(RIGHT)
        accepted = len(wanted) - refused + times * refused + sender_repeats * len(wanted)
        assert doors.received(WRONG) == (accepted + refused, refused, accepted, 0)


def test_a_hit_that_is_refused_again_has_the_reason_and_is_a_new_receipt(classifier: Classifier) -> None:
    wrong = json_hit(0, Wanted(1, 0, True, True, False, True), is_wrong=True)
    for doors in opened(classifier):
        doors.send(WRONG, [wrong])
        (outcome,) = doors.replay([mended(each, edits_of([], [], [])) for each in doors.kept(WRONG)])
        (why,) = outcome.refused
        assert (why.hit_id, why.reason, why.field) == ("h0", "MISSING_FIELD", "visitor_id")
        again, first = doors.kept(WRONG)
        assert (bool(again.replay_obstacle), bool(first.replay_obstacle)) == (True, False)
        doors.small.settle()
        assert doors.received(WRONG) == (2, 2, 0, 0)


def test_a_key_of_another_merchant_replays_nothing(classifier: Classifier) -> None:
    wrong = json_hit(0, Wanted(1, 0, True, True, False, True), is_wrong=True)
    for doors in opened(classifier):
        doors.send(WRONG, [wrong])
        made = [mended(each, CURE) for each in doors.kept(WRONG)]
        (outcome,) = doors.replay(made, RIVAL_KEY)
        assert [why.reason for why in outcome.refused] == ["UNKNOWN_SITE"]
        doors.small.settle()
        assert doors.reports(WRONG) == {}
        assert doors.received(WRONG) == (1, 1, 0, 0)


def test_every_hit_of_a_large_replay_has_its_outcome(classifier: Classifier) -> None:
    hits = [json_hit(number, Wanted(1, 0, True, True, False, True), is_wrong=True) for number in range(230)]
    for doors in opened(classifier):
        for first in range(0, len(hits), 115):
            doors.send(WRONG, hits[first : first + 115])
        kept = doors.kept(WRONG)
        made = [mended(each, CURE if number % 3 else edits_of([], [], [])) for number, each in enumerate(kept)]
        outcomes = doors.replay(made)
        assert [outcome.name for outcome in outcomes] == [each.name for each in made]
        assert [outcome.is_accepted for outcome in outcomes] == [bool(number % 3) for number in range(len(made))]
