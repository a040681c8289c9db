"""Test rules T1 to T3: the time of a hit, and times that are refused."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.hit_types import TimeSource
from hitmesh.model.reasons import HitFlag
from tests.support.admitting import BROWSER, EDGE, IMPORT, NOW, SERVER, a_batch, a_hit, admitted, stored, verdict

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


def at_edge(millis: int) -> hit_pb2.EdgeContext:
    edge = hit_pb2.EdgeContext()
    edge.edge_receive_time.FromMilliseconds(millis)
    return edge


@pytest.mark.parametrize(
    ("created", "sent", "edge", "expected", "source"),
    [
        (None, None, None, NOW, TimeSource.COLLECT),
        (5_000, None, None, NOW, TimeSource.COLLECT),
        (None, 5_000, None, NOW, TimeSource.COLLECT),
        (5_000, 8_000, None, NOW - 3_000, TimeSource.CLIENT_OFFSET),
        (5_000, 5_000, None, NOW, TimeSource.CLIENT_OFFSET),
        (8_000, 5_000, None, NOW, TimeSource.COLLECT),
        (None, None, NOW - 700, NOW - 700, TimeSource.EDGE_RECEIVE),
        (5_000, 8_000, NOW - 700, NOW - 3_700, TimeSource.CLIENT_OFFSET),
        (8_000, 5_000, NOW - 700, NOW - 700, TimeSource.EDGE_RECEIVE),
    ],
)
def test_event_time_without_true_time(
    created: int | None, sent: int | None, edge: int | None, expected: int, source: TimeSource
) -> None:
    batch = a_batch(a_hit(at=created), key=EDGE, sent=sent, edge=at_edge(edge) if edge else None)
    row = admitted(batch).hits.row(0, named=True)
    assert (row["event_time"], row["time_source"], row["edge_time"]) == (expected, source, edge)


def test_true_time_of_a_server_wins() -> None:
    row = admitted(a_batch(a_hit(at=5_000, true_time=NOW - HOUR), sent=8_000)).hits.row(0, named=True)
    assert (row["event_time"], row["time_source"]) == (NOW - HOUR, TimeSource.TRUE_TIME)


def test_true_time_of_others_is_ignored_with_a_warning() -> None:
    hit = a_hit(true_time=NOW - HOUR)
    for key in (BROWSER, EDGE):
        assert verdict(hit, key=key) == ("WARNED", "INVALID_FIELD", "true_time")
        assert admitted(a_batch(hit, key=key)).hits["event_time"].to_list() == [NOW]


def test_edge_fields_are_dropped_unless_an_edge_key_sent_them() -> None:
    edge = at_edge(NOW - 700)
    edge.country = "DE"
    rows = admitted(*(a_batch(a_hit(), key=key, edge=edge) for key in (EDGE, SERVER, BROWSER))).hits
    assert rows.sort("frame").select("edge_time", "country", "event_time").rows() == [
        (NOW - 700, "DE", NOW - 700),
        (None, None, NOW),
        (None, None, NOW),
    ]


def test_five_minutes_ahead_is_taken_more_is_clamped_and_flagged() -> None:
    assert stored(a_hit(true_time=NOW + 5 * MINUTE))["event_time"] == NOW + 5 * MINUTE
    hit = a_hit(true_time=NOW + 5 * MINUTE + 1)
    assert verdict(hit) == ("WARNED", "CLOCK_SKEW", "true_time")
    row = admitted(a_batch(hit)).hits.row(0, named=True)
    assert (row["event_time"], row["flags"]) == (NOW, HitFlag.CLOCK_SKEW)


def test_a_day_ahead_is_clamped_more_is_refused() -> None:
    assert verdict(a_hit(true_time=NOW + DAY)) == ("WARNED", "CLOCK_SKEW", "true_time")
    assert verdict(a_hit(true_time=NOW + DAY + 1)) == ("REJECTED", "TIME_FUTURE", "true_time")
    found = admitted(a_batch(a_hit(), key=EDGE, edge=at_edge(NOW + 2 * DAY)))
    assert found.issues[0].field == "edge.edge_receive_time"


@pytest.mark.parametrize(("key", "limit"), [(BROWSER, 72 * HOUR), (EDGE, 72 * HOUR), (SERVER, 397 * DAY)])
def test_the_age_that_a_key_may_send(key: str, limit: int) -> None:
    start = 1_000_000
    for age, issues in ((limit, 0), (limit + 1, 1)):
        found = admitted(a_batch(a_hit(at=start), key=key, sent=start + age))
        assert len(found.issues) == issues
    assert (found.issues[0].reason, found.issues[0].field) == ("TIME_TOO_OLD", "client_create_time")


def test_age_is_counted_from_the_edge() -> None:
    found = admitted(a_batch(a_hit(at=1_000), key=EDGE, sent=1_000 + 72 * HOUR, edge=at_edge(NOW - HOUR)))
    assert found.issues == []
    assert found.hits["event_time"].to_list() == [NOW - 73 * HOUR]


def test_history_without_bound_reaches_back_to_1970() -> None:
    assert stored(a_hit(true_time=0), key=IMPORT)["event_time"] == 0
    assert verdict(a_hit(true_time=-1), key=IMPORT) == ("REJECTED", "TIME_TOO_OLD", "true_time")


@pytest.mark.parametrize("seconds", [1 << 62, -(1 << 62)])
def test_absurd_times_are_refused_or_ignored_never_wrapped(seconds: int) -> None:
    hit = a_hit()
    hit.true_time.seconds = seconds
    assert verdict(hit)[1] == ("TIME_FUTURE" if seconds > 0 else "TIME_TOO_OLD")
    batch = hit_pb2.HitBatch(ingest_key=SERVER, hits=[a_hit(at=0)], client_send_time=Timestamp(seconds=seconds))
    found = admitted(batch.SerializeToString())
    assert [issue.reason for issue in found.issues] == (["TIME_TOO_OLD"] if seconds > 0 else [])


def test_offline_is_taken_from_servers_only() -> None:
    hit = a_hit(offline=True)
    assert stored(hit)["offline"] is True
    assert verdict(hit, key=BROWSER) == ("WARNED", "INVALID_FIELD", "offline")
    assert admitted(a_batch(hit, key=BROWSER)).hits["offline"].to_list() == [False]


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, -(1 << 31), (1 << 31) - 1])
@pytest.mark.parametrize("field", ["client_create_time", "true_time"])
@pytest.mark.parametrize("key", [SERVER, BROWSER])
def test_a_hit_whose_time_has_invalid_nanos_is_refused(nanos: int, field: str, key: str) -> None:
    hit = a_hit()
    getattr(hit, field).CopyFrom(Timestamp(seconds=NOW // 1_000 - 60, nanos=nanos))
    found = admitted(a_batch(hit, a_hit("h2"), key=key, sent=NOW))
    assert [(issue.index, issue.outcome, issue.reason, issue.field) for issue in found.issues] == [
        (0, "REJECTED", "INVALID_FIELD", field)
    ]
    assert found.hits["hit_id"].to_list() == ["h2"]


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000])
def test_a_batch_whose_time_has_invalid_nanos_is_refused(nanos: int) -> None:
    bad = Timestamp(seconds=NOW // 1_000, nanos=nanos)
    sent = a_batch(a_hit(), key=EDGE, client_send_time=bad)
    at_the_edge = a_batch(a_hit(), key=EDGE, edge=hit_pb2.EdgeContext(edge_receive_time=bad))
    found = admitted(sent, at_the_edge, a_batch(a_hit("h2"), key=EDGE))
    assert [(issue.frame, issue.index, issue.reason, issue.field) for issue in found.issues] == [
        (0, -1, "INVALID_FIELD", "client_send_time"),
        (1, -1, "INVALID_FIELD", "edge.edge_receive_time"),
    ]
    assert found.hits["hit_id"].to_list() == ["h2"]
    untrusted = a_batch(a_hit(), key=SERVER, edge=hit_pb2.EdgeContext(edge_receive_time=bad))
    assert not admitted(untrusted).issues, "the edge context of other keys is dropped unread"


@pytest.mark.parametrize("nanos", [0, 999_999, 1_000_000, 999_999_999])
def test_valid_nanos_are_cut_to_milliseconds(nanos: int) -> None:
    hit = a_hit()
    hit.true_time.CopyFrom(Timestamp(seconds=NOW // 1_000 - 60, nanos=nanos))
    assert stored(hit, key=SERVER)["event_time"] == NOW - 60_000 + nanos // 1_000_000
