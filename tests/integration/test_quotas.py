"""Test quotas through real collectors: a merchant far beyond its quota must wait, and no other merchant notices.

The quotas have a clock that the tests advance, so the results do not depend on the speed of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import grpc
import pytest
from google.api import httpbody_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from collector.classify import Classifier
from collector.hit_quotas import HitQuotas
from hitmesh.adapters.memory.collector_reports import MemoryCollectorReports
from hitmesh.api.collector.v1 import collector_pb2, collector_pb2_grpc, json_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.quotas import CollectorReport, HitLimits, Quota
from hitmesh.model.sites import IngestKey, KeyKind, Site
from hitmesh.runtime.quota_shares import QuotaShares
from tests.support.clock import ManualClock
from tests.support.collectors import KEY, MERCHANT, NOW_MS, SITE, Backend, Running, new_backend, running
from tests.support.messages import page_view
from tests.support.patience import patient
from tests.support.quota_changes import CHANGES, KEY_NAME
from tests.support.streams import StreamClient

LARGE = HitLimits(10**6, 10**9)
MODEST_SITE, MODEST_KEY = "merchants/modest/sites/a", "hms_modest"
LIMIT = 100
STEP_MS = 100


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


@pytest.fixture
def backend(classifier: Classifier) -> Backend:
    """Return a backend with two merchants; the site of the first merchant has a quota."""
    backend = new_backend(classifier)
    directory = backend.stores.directory
    directory.create_site(Site(name=MODEST_SITE, time_zone="UTC", currency="USD", secret=b"a secret of sixteen"))
    directory.create_key(IngestKey("k-2", "merchants/modest", KeyKind.SERVER, MODEST_SITE), MODEST_KEY)
    directory.change_quota(SITE, Quota(hits_s=LIMIT))
    return backend


def quotas_on(clock: ManualClock) -> HitQuotas:
    return HitQuotas(LARGE, LARGE, now_ms=clock.now, clock=clock)


def batch_of(name: str, hits: int) -> hit_pb2.HitBatch:
    return hit_pb2.HitBatch(hits=[page_view(f"{name}-{number}", NOW_MS, visitor=name) for number in range(hits)])


def call(collector: Running, batch: hit_pb2.HitBatch, key: str, site: str) -> collector_pb2.SendHitsResponse:
    batch.ingest_key = key
    stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
    request = collector_pb2.SendHitsRequest(batch=batch)
    return stub.SendHits(request, metadata=(("hitmesh-site", site),), timeout=patient(10))


def accepts(collector: Running, batch: hit_pb2.HitBatch, key: str = KEY, site: str = SITE) -> int:
    """Send a batch in a unary call, and return the number of accepted hits; 0 if the batch must wait."""
    try:
        return call(collector, batch, key, site).accepted_count
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return 0


def details_of(error: grpc.RpcError) -> dict[str, Message]:
    """Return the details of a status by the name of their type."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    found: dict[str, Message] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.QuotaFailure):
            detail = kind()
            if packed.Unpack(detail):
                found[kind.DESCRIPTOR.name] = detail
    return found


def test_a_call_beyond_the_quota_names_the_quota_and_the_wait_and_then_passes(backend: Backend) -> None:
    clock = ManualClock(0)
    with running(backend, quotas=quotas_on(clock)) as collector:
        assert accepts(collector, batch_of("burst", 2 * LIMIT)) == 2 * LIMIT
        for _ in range(2):  # the second call is refused before the batch is queued
            with pytest.raises(grpc.RpcError) as caught:
                call(collector, batch_of("more", 50), KEY, SITE)
            assert isinstance(caught.value, grpc.Call)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            details = details_of(caught.value)
            info, retry, failure = details["ErrorInfo"], details["RetryInfo"], details["QuotaFailure"]
            assert isinstance(info, error_details_pb2.ErrorInfo)
            assert (info.reason, info.metadata["subject"], info.metadata["limit"]) == ("QUOTA", SITE, str(LIMIT))
            assert (info.metadata["quota"], info.metadata["window_s"]) == ("site_hits", "1")
            assert isinstance(retry, error_details_pb2.RetryInfo)
            assert retry.retry_delay.ToMilliseconds() == 500
            assert isinstance(failure, error_details_pb2.QuotaFailure)
            (violation,) = failure.violations
            assert (violation.subject, violation.description) == (SITE, caught.value.details())
            headers = dict(caught.value.initial_metadata())
            assert headers["retry-after"] == "1"
            assert headers["ratelimit-policy"] == f'"site_hits";q={LIMIT};w=1'
            assert headers["ratelimit"] == '"site_hits";r=0;t=1'
        clock.advance(500)
        assert accepts(collector, batch_of("more", 50)) == 50


def test_an_accepted_call_states_the_quota_of_which_the_least_remains(backend: Backend) -> None:
    clock = ManualClock(0)
    with running(backend, quotas=quotas_on(clock)) as collector:
        stub = collector_pb2_grpc.CollectorServiceStub(collector.channel)
        found = []
        for name, hits in (("first", 150), ("second", 30)):
            batch = batch_of(name, hits)
            batch.ingest_key = KEY
            request = collector_pb2.SendHitsRequest(batch=batch)
            _, answered = stub.SendHits.with_call(request, metadata=(("hitmesh-site", SITE),), timeout=patient(10))
            found.append(dict(answered.initial_metadata()))
        send = collector.channel.unary_unary(
            "/hitmesh.api.collector.v1.JsonCollectorService/SendJsonHits",
            request_serializer=httpbody_pb2.HttpBody.SerializeToString,
            response_deserializer=json_pb2.SendJsonHitsResponse.FromString,
        )
        body = b'{"ingestKey": "%s", "hits": [{"broken": 1}]}' % KEY.encode()
        _, answered = send.with_call(
            httpbody_pb2.HttpBody(data=body), metadata=(("hitmesh-site", SITE),), timeout=patient(10)
        )
        found.append(dict(answered.initial_metadata()))
    assert {headers["ratelimit-policy"] for headers in found} == {f'"site_hits";q={LIMIT};w=1'}
    assert [headers["ratelimit"] for headers in found] == [f'"site_hits";r={left};t=1' for left in (50, 20, 19)]


def test_json_beyond_the_quota_is_refused_unread(backend: Backend) -> None:
    clock = ManualClock(0)
    with running(backend, quotas=quotas_on(clock)) as collector:
        assert accepts(collector, batch_of("burst", 2 * LIMIT)) == 2 * LIMIT
        assert accepts(collector, batch_of("more", 50)) == 0
        send = collector.channel.unary_unary(
            "/hitmesh.api.collector.v1.JsonCollectorService/SendJsonHits",
            request_serializer=httpbody_pb2.HttpBody.SerializeToString,
            response_deserializer=json_pb2.SendJsonHitsResponse.FromString,
        )
        body = httpbody_pb2.HttpBody(data=b'{"ingestKey": "%s", "hits": [{"broken": ' % KEY.encode())
        with pytest.raises(grpc.RpcError) as caught:
            send(body, metadata=(("hitmesh-site", SITE),), timeout=patient(10))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_stream_beyond_the_quota_gets_retry_and_goes_on(backend: Backend) -> None:
    clock = ManualClock(0)
    with (
        running(backend, quotas=quotas_on(clock)) as collector,
        StreamClient(collector.channel, KEY, SITE, timeout_s=patient(15)) as stream,
    ):
        for number in range(4):
            stream.wait_acked(stream.send(batch_of(f"b-{number}", LIMIT)))
        clock.advance(1_000)
        stream.wait_acked(stream.send(batch_of("b-2", LIMIT)))
        reported = stream.finish()
    assert reported.accepted == 3 * LIMIT
    assert [issue.batch_seq for issue in reported.issues] == [3, 4]
    for issue in reported.issues:
        assert (issue.outcome, issue.reason) == (collector_pb2.OUTCOME_RETRY, collector_pb2.REASON_QUOTA)
        assert not issue.HasField("index")
        assert issue.retry_delay.ToMilliseconds() == 1_000
        assert SITE in issue.message
    assert backend.rows().height == 3 * LIMIT


def json_refusal(collector: Running, batch: hit_pb2.HitBatch) -> str:
    """Send a batch as JSON, and return the reason of the refusal; "" if the batch is accepted."""
    send = collector.channel.unary_unary(
        "/hitmesh.api.collector.v1.JsonCollectorService/SendJsonHits",
        request_serializer=httpbody_pb2.HttpBody.SerializeToString,
        response_deserializer=json_pb2.SendJsonHitsResponse.FromString,
    )
    batch.ingest_key = KEY
    body = httpbody_pb2.HttpBody(data=json_format.MessageToJson(batch).encode())
    return refusal_of(lambda: send(body, metadata=(("hitmesh-site", SITE),), timeout=patient(10)))


def unary_refusal(collector: Running, batch: hit_pb2.HitBatch) -> str:
    """Send a batch in a unary call, and return the reason of the refusal; "" if the batch is accepted."""
    return refusal_of(lambda: call(collector, batch, KEY, SITE))


def refusal_of(send: Callable[[], object]) -> str:
    try:
        send()
    except grpc.RpcError as error:
        info = details_of(error)["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        return str(info.reason)
    return ""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("refusal", [unary_refusal, json_refusal])
def test_a_sender_that_must_wait_notices_a_change_at_once(
    backend: Backend, change: str, refusal: Callable[[Running, hit_pb2.HitBatch], str]
) -> None:
    clock, directory = ManualClock(0), backend.stores.directory
    site_quota, key_quota, make, expected = CHANGES[change]
    directory.change_quota(SITE, site_quota)
    directory.change_quota(KEY_NAME, key_quota)
    quotas = HitQuotas(LARGE, LARGE, now_ms=clock.now, clock=clock)
    with running(backend, quotas=quotas) as collector:
        assert accepts(collector, batch_of("burst", 1_000)) == 1_000, "the burst leaves a debt of 200 s"
        for number in range(2):
            assert refusal(collector, batch_of(f"refused {number}", 20)) == "QUOTA"
        make(directory)
        clock.advance(2_000)
        # A larger quota pays off the debt from the next batch on.
        assert refusal(collector, batch_of("changed", 20)) == (expected or "QUOTA")
        clock.advance(2_000)
        assert refusal(collector, batch_of("changed later", 20)) == expected


def test_an_open_stream_that_must_wait_notices_changes_at_once(backend: Backend) -> None:
    clock, directory = ManualClock(0), backend.stores.directory
    directory.change_quota(SITE, Quota(hits_s=5))
    with (
        running(backend, quotas=quotas_on(clock)) as collector,
        StreamClient(collector.channel, KEY, SITE, timeout_s=patient(15)) as stream,
    ):
        for name, hits in (("burst", 1_000), ("refused", 20), ("refused again", 20)):
            stream.wait_acked(stream.send(batch_of(name, hits)))
        directory.change_quota(SITE, Quota(hits_s=1_000))
        for name, hits in (("in debt", 20), ("raised", 2_000), ("in debt again", 20)):
            stream.wait_acked(stream.send(batch_of(name, hits)))
            clock.advance(4_000 if hits == 20 else 0)
        directory.revoke_key(MERCHANT, "k-1", NOW_MS)
        stream.wait_acked(stream.send(batch_of("revoked", 20)))
        reported = stream.finish()
    found = {issue.batch_seq: collector_pb2.Reason.Name(issue.reason) for issue in reported.issues}
    assert found == dict.fromkeys((2, 3, 4, 6), "REASON_QUOTA") | {7: "REASON_KEY_REVOKED"}


def test_a_refused_sender_gets_the_share_of_a_collector_that_stopped(backend: Backend) -> None:
    clock = ManualClock(0)
    reports = MemoryCollectorReports(clock)
    quotas = quotas_on(clock)
    shares = QuotaShares(reports, quotas, "a", 1.0)
    reports.put(CollectorReport("b", LARGE, LARGE), 1_000)
    shares.exchange()
    with running(backend, quotas=quotas) as collector:
        assert accepts(collector, batch_of("burst", 10 * LIMIT)) == 10 * LIMIT
        assert accepts(collector, batch_of("refused", 10)) == 0
        clock.advance(1_000)
        shares.exchange()
        assert quotas.live == 1
        with pytest.raises(grpc.RpcError) as caught:
            call(collector, batch_of("refused", 10), KEY, SITE)
        assert isinstance(caught.value, grpc.Call)
        retry = details_of(caught.value)["RetryInfo"]
        assert isinstance(retry, error_details_pb2.RetryInfo)
        # The debt was 900 hits beyond a burst of 100 hits, of which 50 hits are paid off.
        assert retry.retry_delay.ToMilliseconds() == (900 - 50 + 10) * 1_000 // LIMIT


def test_one_merchant_at_100_times_its_quota_waits_and_another_is_always_taken(backend: Backend) -> None:
    clock, stored, taken, refused = ManualClock(0), set(), 0, 0
    with running(backend, quotas=quotas_on(clock)) as collector:
        greedy = StreamClient(collector.channel, KEY, SITE, timeout_s=patient(60))
        with greedy as stream:
            for step in range(10):
                clock.advance(STEP_MS)
                sent = [f"greedy-{step}-{number}" for number in range(10)]
                numbers = [stream.send(batch_of(name, LIMIT)) for name in sent]  # 100 × the quota per second
                modest = f"modest-{step}"
                assert accepts(collector, batch_of(modest, 5), MODEST_KEY, MODEST_SITE) == 5
                stored |= {f"{modest}-{number}" for number in range(5)}
                stream.wait_acked(numbers[-1])
                waiting = {issue.batch_seq for issue in stream.reported.issues}
                refused += sum(number in waiting for number in numbers)
                for number, name in zip(numbers, sent, strict=True):
                    if number not in waiting:
                        taken += 1
                        stored |= {f"{name}-{at}" for at in range(LIMIT)}
            reported = stream.finish()
    assert taken + refused == 100
    assert taken <= 3, "two seconds of quota at once, and one second of quota"
    assert reported.accepted == taken * LIMIT
    assert {issue.reason for issue in reported.issues} == {collector_pb2.REASON_QUOTA}
    assert sorted(backend.rows()["hit_id"].to_list()) == sorted(stored), "what is acknowledged is stored, once"
    assert backend.refusals().height == 0


@pytest.mark.parametrize("shares", [(10, 0), (8, 2), (5, 5)])
def test_two_collectors_together_keep_a_quota(backend: Backend, shares: tuple[int, int]) -> None:
    clock = ManualClock(0)
    every = [quotas_on(clock), quotas_on(clock)]
    exchanges = [
        QuotaShares(backend.stores.collector_reports, quotas, f"collector-{number}", 1.0)
        for number, quotas in enumerate(every)
    ]
    rates = []
    with ExitStack() as stack:
        collectors = [stack.enter_context(running(backend, quotas=quotas)) for quotas in every]
        for exchange in exchanges:
            exchange.exchange()
        for second in range(9):
            total = 0
            for step in range(5):
                clock.advance(200)
                for number, collector in enumerate(collectors):
                    # 3 × the quota, in batches of 6 hits
                    for at in range(shares[number]):
                        total += accepts(collector, batch_of(f"{second}-{step}-{number}-{at}", 6))
            for exchange in exchanges:
                exchange.exchange()
            rates.append(total)
    assert sum(rates[4:]) / len(rates[4:]) == pytest.approx(LIMIT, rel=0.2)
    assert sum(rates) <= LIMIT * len(rates) * 1.2 + 2 * LIMIT
    assert backend.rows().height == sum(rates)
