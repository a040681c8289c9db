"""Test RejectedHitService: permissions, pages, filters, and the stored times of replays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import grpc
import pytest
from google.protobuf.message import Message

from control.rpc.rejected import list_rejected_hits
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import Origin, RejectedHit
from hitmesh.model.refusals import JSON_MARK, RefusalRange, key_of, name_of
from tests.support.messages import timestamp
from tests.support.reporters import NOW, OPERATOR, OWNER, RIVAL, Mesh, bearer, refusal, start
from tests.support.settled_rows import SITE

ORIGIN = Origin("b1", 3, "k1", 5, True, False, b"context", NOW, 7, True)


def stored(offset: int, *, site: str = SITE, at: int = NOW, reason: str = "MISSING_FIELD") -> RejectedHit:
    place = Position("rejected.1", 0, offset)
    return RejectedHit(place, 0, site, at, reason, "visitor_id", "is missing", "h1", 1, b"bytes", ORIGIN)


NAME = name_of(key_of(stored(1)))
CALLS: Mapping[str, Message] = {
    "ListRejectedHits": pb.ListRejectedHitsRequest(site=SITE),
    "GetRejectedHit": pb.GetRejectedHitRequest(name=NAME),
    "MarkRejectedHitsReplayed": pb.MarkRejectedHitsReplayedRequest(names=[NAME]),
}


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    for running in start(open_reads=True):
        running.stores.rejected.put([stored(1)])
        yield running


@pytest.fixture
def fresh() -> Iterator[Mesh]:
    """Return a mesh in which reads need a key and no hit was refused."""
    yield from start(open_reads=False)


def ask(mesh: Mesh, rpc: str, request: Message, secret: str | None = OPERATOR) -> Message:
    answer: Message = getattr(mesh.rejected_hits, rpc)(request, metadata=bearer(secret) if secret else None)
    return answer


def names(mesh: Mesh, **fields: object) -> list[str]:
    """Return the offsets of the listed refusals as texts, page after page."""
    request = pb.ListRejectedHitsRequest(**fields)  # type: ignore[arg-type]  # protobuf checks the fields
    found: list[str] = []
    while True:
        page = mesh.rejected_hits.ListRejectedHits(request, metadata=bearer(OPERATOR))
        found += [hit.name.split("_")[4] for hit in page.rejected_hits]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.mark.parametrize("rpc", CALLS)
def test_refusals_are_shown_to_their_merchant_and_to_operators_even_with_open_reads(mesh: Mesh, rpc: str) -> None:
    service = pb.DESCRIPTOR.services_by_name["RejectedHitService"]
    assert {method.name for method in service.methods} == set(CALLS)
    for secret in (OPERATOR, OWNER):
        assert ask(mesh, rpc, CALLS[rpc], secret)
    assert refusal(lambda: ask(mesh, rpc, CALLS[rpc], RIVAL)).code is grpc.StatusCode.NOT_FOUND
    assert refusal(lambda: ask(mesh, rpc, CALLS[rpc], None)).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("rpc", CALLS)
def test_refusals_of_a_deleted_site_are_missing_even_for_operators(fresh: Mesh, rpc: str) -> None:
    fresh.stores.rejected.put([stored(1)])
    assert ask(fresh, rpc, CALLS[rpc])
    site = fresh.stores.directory.site(SITE)
    assert site is not None
    assert fresh.stores.directory.change_site(site, replace(site, revision=1, deleted_at=NOW))
    for secret in (OPERATOR, OWNER):
        assert refusal(lambda: ask(fresh, rpc, CALLS[rpc], secret)).code is grpc.StatusCode.NOT_FOUND  # noqa: B023


def test_the_list_of_all_sites_leaves_out_refusals_that_cannot_be_read(fresh: Mesh) -> None:
    fresh.stores.rejected.put([stored(1)])
    everything = pb.ListRejectedHitsRequest()
    found = fresh.rejected_hits.ListRejectedHits(everything, metadata=bearer(OPERATOR))
    assert len(found.rejected_hits) == 1
    site = fresh.stores.directory.site(SITE)
    assert site is not None
    assert fresh.stores.directory.change_site(site, replace(site, revision=1, deleted_at=NOW))
    assert not fresh.rejected_hits.ListRejectedHits(everything, metadata=bearer(OPERATOR)).rejected_hits


@pytest.mark.parametrize("offset", [1, 2], ids=["stored", "missing"])
@pytest.mark.parametrize("rpc", ["GetRejectedHit", "MarkRejectedHitsReplayed"])
def test_a_refusal_of_another_merchant_and_a_missing_refusal_read_the_same(fresh: Mesh, rpc: str, offset: int) -> None:
    fresh.stores.rejected.put([stored(1)])
    name = name_of(key_of(stored(offset)))
    fields = {"name": name} if rpc == "GetRejectedHit" else {"names": [name]}
    found = refusal(lambda: ask(fresh, rpc, getattr(pb, f"{rpc}Request")(**fields), RIVAL))
    assert (found.code, found.field) == (grpc.StatusCode.NOT_FOUND, "name")
    assert found.message.startswith(f"{name!r} does not exist: ")
    assert fresh.stores.rejected.page(RefusalRange(SITE, 0, NOW + 1), None, 2).hits == [stored(1)]


@pytest.mark.parametrize("request_", [pb.ListRejectedHitsRequest(), pb.ListRejectedHitsRequest(without_site=True)])
def test_only_an_operator_lists_the_refusals_of_all_sites_or_without_a_site(mesh: Mesh, request_: Message) -> None:
    assert ask(mesh, "ListRejectedHits", request_)
    found = refusal(lambda: ask(mesh, "ListRejectedHits", request_, OWNER))
    assert found.code is grpc.StatusCode.PERMISSION_DENIED
    assert found.message.startswith(
        "rejected hits of all sites, or without a site, belong to no merchant, so a server "
    )
    nameless = pb.GetRejectedHitRequest(name=name_of(key_of(stored(1, site=""))))
    assert refusal(lambda: ask(mesh, "GetRejectedHit", nameless, OWNER)).code is grpc.StatusCode.NOT_FOUND


def test_a_refusal_comes_with_bytes_and_origin(mesh: Mesh) -> None:
    found = mesh.rejected_hits.GetRejectedHit(pb.GetRejectedHitRequest(name=NAME), metadata=bearer(OPERATOR))
    hit = found.rejected_hit
    assert (hit.name, hit.site, hit.reason) == (NAME, SITE, collector_pb2.REASON_MISSING_FIELD)
    assert (hit.original, hit.form, hit.original_size) == (b"bytes", pb.REJECTED_HIT_FORM_HIT, 5)
    assert (hit.batch_id, hit.batch_index, hit.key_id, hit.key_sets_times) == ("b1", 3, "k1", True)
    assert (hit.receive_time.ToMilliseconds(), hit.client_send_time.ToMilliseconds()) == (NOW, 7)


def test_pages_list_each_refusal_once_by_site_reason_and_time(fresh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_rejected_hits, "CHUNK", 2)
    monkeypatch.setattr(list_rejected_hits, "MAX_READ", 3)
    fresh.stores.rejected.put(
        [
            *(stored(offset, at=NOW + offset) for offset in range(1, 4)),
            stored(4, at=NOW + CELL_MS, reason="DECODE"),
            stored(5, at=NOW + CELL_MS, site=""),
            stored(6, at=NOW, site="merchants/rival/sites/shop", reason="DECODE"),
            stored(7, at=NOW + 1, reason="NEWER_THAN_THIS_VERSION"),
        ]
    )
    for size in (1, 2, 3, 50):
        assert names(fresh, page_size=size) == ["5", "4", "3", "2", "7", "1", "6"]
        assert names(fresh, page_size=size, site=SITE) == ["4", "3", "2", "7", "1"]
        assert names(fresh, page_size=size, reason=collector_pb2.REASON_DECODE) == ["4", "6"]
        assert names(fresh, page_size=size, without_site=True) == ["5"]
    assert names(fresh, start_time=timestamp(NOW + 1_000)) == ["5", "4"]
    assert names(fresh, end_time=timestamp(NOW + 1_000), site=SITE) == ["3", "2", "7", "1"]


def test_a_token_belongs_to_its_list(fresh: Mesh) -> None:
    fresh.stores.rejected.put([stored(1), stored(2)])
    request = pb.ListRejectedHitsRequest(page_size=1)
    request.page_token = fresh.rejected_hits.ListRejectedHits(request, metadata=bearer(OPERATOR)).next_page_token
    request.site = SITE
    assert refusal(lambda: ask(fresh, "ListRejectedHits", request)).reason == "PAGE_TOKEN_MISMATCH"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListRejectedHitsRequest(page_size=-1), "page_size"),
        (pb.ListRejectedHitsRequest(site="demo"), "site"),
        (pb.ListRejectedHitsRequest(site=SITE, without_site=True), "without_site"),
        (pb.ListRejectedHitsRequest(start_time=timestamp(9), end_time=timestamp(9)), "start_time"),
        (pb.ListRejectedHitsRequest(reason=999), "reason"),  # type: ignore[arg-type]  # a number of a newer contract
        (pb.GetRejectedHitRequest(name="rejectedHits/demo_shop_1"), "name"),
        (pb.GetRejectedHitRequest(name="rejectedHits/DEMO_shop_1_0_0_0_log"), "name"),
        (pb.GetRejectedHitRequest(name="rejectedHits/__99999999999999999999_0_0_0_log"), "name"),
        (pb.MarkRejectedHitsReplayedRequest(), "names"),
        (pb.MarkRejectedHitsReplayedRequest(names=[NAME] * 501), "names"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(mesh: Mesh, request_: Message, field: str) -> None:
    rpc = type(request_).__name__.removesuffix("Request")
    assert refusal(lambda: ask(mesh, rpc, request_)).field == field


def test_a_replay_is_noted_and_an_unknown_name_is_not(fresh: Mesh) -> None:
    fresh.stores.rejected.put([stored(1)])
    mark = pb.MarkRejectedHitsReplayedRequest(names=[NAME])
    noted = fresh.rejected_hits.MarkRejectedHitsReplayed(mark, metadata=bearer(OPERATOR))
    found = fresh.rejected_hits.GetRejectedHit(pb.GetRejectedHitRequest(name=NAME), metadata=bearer(OPERATOR))
    assert found.rejected_hit.replay_time == noted.replay_time
    assert noted.replay_time.ToMilliseconds() == fresh.clock.now()
    mark.names.append(name_of(key_of(stored(2))))
    assert refusal(lambda: ask(fresh, "MarkRejectedHitsReplayed", mark)).code is grpc.StatusCode.NOT_FOUND


def test_if_a_name_does_not_exist_no_refusal_is_marked(fresh: Mesh) -> None:
    fresh.stores.rejected.put([stored(1)])
    mark = pb.MarkRejectedHitsReplayedRequest(names=[NAME, name_of(key_of(stored(2)))])
    assert refusal(lambda: ask(fresh, "MarkRejectedHitsReplayed", mark)).code is grpc.StatusCode.NOT_FOUND
    found = fresh.rejected_hits.GetRejectedHit(pb.GetRejectedHitRequest(name=NAME), metadata=bearer(OPERATOR))
    assert not found.rejected_hit.HasField("replay_time")


def test_bytes_of_an_earlier_version_are_not_shown_because_they_may_contain_a_key(fresh: Mesh) -> None:
    fresh.stores.rejected.put([replace(stored(1), original=JSON_MARK + b"secret", origin=None)])
    found = fresh.rejected_hits.GetRejectedHit(pb.GetRejectedHitRequest(name=NAME), metadata=bearer(OPERATOR))
    assert found.rejected_hit.original == b""
    assert "were not stored" in found.rejected_hit.replay_obstacle
