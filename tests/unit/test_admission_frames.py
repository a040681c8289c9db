"""Frames and hits that are too large or do not decode are refused. All other hits are accepted."""

from __future__ import annotations

import pytest

from collector.admission import Admitted, Outcome, Refusal
from collector.admission.frames import MAX_BATCH_BYTES, MAX_HITS
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS
from tests.support.admitting import NOW, SERVER, SITE, a_batch, a_frame, a_hit, a_page, admitted, grants

GOOD = a_hit("good").SerializeToString()


def raw_batch(*hits: bytes) -> bytes:
    return view_pb2.HitBatchEnvelope(batch_id="b1", ingest_key=SERVER, hits=hits).SerializeToString()


def issues_of(found: Admitted) -> list[tuple[int, int, str, str]]:
    return [(issue.frame, issue.index, issue.outcome, issue.reason) for issue in found.issues]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("invalid UTF-8", b"\x0a\x02\xff\xfe"),
        ("garbage", b"\xff\xff\xff"),
        ("cut short", GOOD[:-3]),
        ("two payloads", GOOD + hit_pb2.Hit(order=hit_pb2.Order(order_id="1")).SerializeToString()),
        (
            "garbage in a rare payload",
            hit_pb2.Hit(type=hit_pb2.HIT_TYPE_ORDER, visitor_id="v").SerializeToString() + b"\xda\x01\x02\x0a\xff",
        ),
        ("garbage in a property", GOOD + b"\x52\x02\x0a\xff"),
        (
            "invalid UTF-8 in an item",
            hit_pb2.Hit(type=hit_pb2.HIT_TYPE_ORDER).SerializeToString() + b"\xda\x01\x06\x1a\x04\x0a\x02\xff\xfe",
        ),
    ],
)
def test_a_hit_that_does_not_decode_is_refused_alone(name: str, bad: bytes) -> None:
    found = admitted(raw_batch(GOOD, bad, GOOD), raw_batch(GOOD))
    assert issues_of(found) == [(0, 1, "REJECTED", "DECODE")], name
    assert found.accepted.tolist() == [2, 1]
    assert found.rejected.select("reason", "batch_index", "hits", "original").row(0) == ("DECODE", 1, 1, bad)


def test_a_frame_of_garbage_is_refused_alone() -> None:
    found = admitted(a_batch(a_hit()), a_frame(b"\xff\xfe", default_key=SERVER), a_batch(a_hit()))
    assert issues_of(found) == [(1, -1, "REJECTED", "DECODE")]
    assert found.accepted.tolist() == [1, 0, 1]
    # The key of the stream tells from which site the undecodable frame came.
    assert found.rejected.select("site", "hits", "original", "frame").row(0) == (SITE.name, 1, b"\xff\xfe", 1)


def test_a_default_context_of_garbage_refuses_its_batch() -> None:
    broken = view_pb2.HitBatchEnvelope(ingest_key=SERVER, default_context=b"\xff", hits=[GOOD, GOOD])
    found = admitted(broken.SerializeToString(), raw_batch(GOOD))
    assert issues_of(found) == [(0, -1, "REJECTED", "DECODE")]
    assert found.rejected.select("site", "hits").row(0) == (SITE.name, 2)


def test_a_batch_holds_1_to_2000_hits() -> None:
    most = [a_hit(f"h{number}") for number in range(MAX_HITS)]
    found = admitted(a_batch(*most), a_batch(*most, a_hit("one more")), a_batch())
    assert issues_of(found) == [(1, -1, "REJECTED", "BATCH_TOO_LARGE"), (2, -1, "REJECTED", "MISSING_FIELD")]
    assert found.accepted.tolist() == [MAX_HITS, 0, 0]
    assert found.rejected["hits"].to_list() == [MAX_HITS + 1, 0]
    assert "2,001 hits; the limit is 2,000: send several batches" in found.issues[0].message


def test_a_batch_over_1_mib_is_refused_with_its_count_and_site() -> None:
    large = a_batch(*(a_page("/" + "x" * 30_000) for _ in range(36)))
    assert len(large) > MAX_BATCH_BYTES
    found = admitted(large, a_batch(a_hit()))
    assert issues_of(found) == [(0, -1, "REJECTED", "BATCH_TOO_LARGE")]
    assert found.rejected.select("site", "hits").row(0) == (SITE.name, 36)
    assert len(found.rejected["original"][0]) == 4096


def test_a_hit_over_32_kib_is_refused_alone_and_keeps_4_kib() -> None:
    fitting = a_page("/" + "x" * (32_768 - 90))
    large = a_page("/" + "x" * 32_768)
    found = admitted(a_batch(a_hit(), fitting, large, a_hit()), a_batch(a_hit()))
    assert [issue[1:] for issue in issues_of(found)] == [(1, "WARNED", "TRUNCATED"), (2, "REJECTED", "HIT_TOO_LARGE")]
    assert found.accepted.tolist() == [3, 1]
    assert found.rejected["original"][0] == large.SerializeToString()[:4096]


def test_an_order_may_have_256_kib() -> None:
    def order(note_bytes: int) -> hit_pb2.Hit:
        order = hit_pb2.Order(order_id="o", items=[hit_pb2.Item(variant="x" * note_bytes)])
        return a_hit(type=8, order=order)

    fitting, large = order(262_144 - 100), order(262_144)
    found = admitted(a_batch(a_page("/" + "x" * 32_768), fitting, large, a_hit()))
    assert [issue[1:] for issue in issues_of(found)] == [
        (0, "REJECTED", "HIT_TOO_LARGE"),
        (1, "WARNED", "TRUNCATED"),
        (2, "REJECTED", "HIT_TOO_LARGE"),
    ]
    assert "the limit is 262,144" in found.issues[2].message


def test_the_key_of_the_batch_wins_over_that_of_the_stream() -> None:
    found = admitted(
        a_frame(a_batch(a_hit(), key=""), default_key=SERVER),
        a_frame(a_batch(a_hit(), key="unknown"), default_key=SERVER),
        a_frame(a_batch(a_hit(), key="")),
    )
    assert found.accepted.tolist() == [1, 0, 0]
    assert issues_of(found) == [(1, -1, "REJECTED", "UNKNOWN_KEY"), (2, -1, "REJECTED", "UNKNOWN_KEY")]


def test_a_refused_sender_is_itemised_once_per_batch() -> None:
    revoked = Refusal("KEY_REVOKED", "key k was revoked", site=SITE.name, key_id="k")
    found = admitted(a_batch(a_hit(), a_hit("h2"), key="old"), a_batch(a_hit()), to=grants() | {("old", ""): revoked})
    assert issues_of(found) == [(0, -1, "REJECTED", "KEY_REVOKED")]
    assert found.rejected.select("site", "key_id", "hits").row(0) == (SITE.name, "k", 2)


def test_an_issue_of_a_whole_batch_has_the_variable_parts_of_its_message() -> None:
    revoked = Refusal("KEY_REVOKED", "key k was revoked", key_id="k", variables={"key_id": "k"})
    many = a_batch(*(a_hit(f"h{n}") for n in range(2_001)))
    found = admitted(a_batch(a_hit(), key="old"), many, a_batch(a_hit()), to=grants() | {("old", ""): revoked})
    assert [dict(issue.variables) for issue in found.issues] == [{"key_id": "k"}, {"count": 2_001, "limit": 2_000}]


def test_a_sender_that_could_not_be_looked_up_may_send_again() -> None:
    later = Refusal("UNKNOWN_KEY", "the directory does not answer", retry=True)
    found = admitted(a_batch(a_hit(), key="new"), to={("new", ""): later})
    assert issues_of(found) == [(0, -1, "RETRY", "UNKNOWN_KEY")]
    assert found.rejected.height == 0


def test_a_batch_that_is_invalid_for_any_sender_is_refused_though_its_sender_was_not_looked_up() -> None:
    later = Refusal("QUOTA", "too many unknown keys were looked up", retry=True)
    found = admitted(a_batch(key="new"), to={("new", ""): later})
    assert issues_of(found) == [(0, -1, "REJECTED", "MISSING_FIELD")]
    assert found.rejected["reason"].to_list() == ["MISSING_FIELD"]


def test_a_merchant_key_is_resolved_per_site_header() -> None:
    frames = [a_frame(a_batch(a_hit()), site_header=header) for header in ("m/s", "m/other", "m/s")]
    found = admitted(*frames, to={(SERVER, "m/s"): grants()[SERVER, ""]})
    assert found.accepted.tolist() == [1, 0, 1]


def test_columns_are_the_same_when_no_hit_is_accepted() -> None:
    found = admitted(a_batch(a_hit(), key="nobody's"))
    assert (found.hits.height, found.accepted.tolist()) == (0, [0])
    assert found.hits.schema == admitted(a_batch(a_hit())).hits.schema


def test_no_frames_give_no_rows_with_all_columns() -> None:
    found = admitted()
    assert found.hits.columns == [*HITS_COLUMNS, "frame", "partition"]
    assert found.rejected.columns == [*REJECTED_COLUMNS, "frame"]
    assert admitted(b"\xff").hits.schema == admitted(a_batch(a_hit())).hits.schema


def test_columns_have_the_types_of_the_record() -> None:
    found = admitted(a_batch(a_hit()), a_batch(a_hit(), key="unknown"))
    assert dict(found.hits.select(*HITS_COLUMNS).schema) == HITS_COLUMNS
    assert dict(found.rejected.select(*REJECTED_COLUMNS).schema) == REJECTED_COLUMNS
    assert found.hits["collect_time"].to_list() == [NOW]


def test_hits_come_by_partition_and_then_in_the_order_they_were_sent() -> None:
    found = admitted(*(a_batch(*(a_hit(f"h{n}") for n in range(20)), batch_id=f"b{frame}") for frame in range(3)))
    keys = found.hits.select("partition", "frame", "batch_index").rows()
    assert keys == sorted(keys)


def test_outcomes_are_those_of_the_contract() -> None:
    assert {f"OUTCOME_{outcome}" for outcome in Outcome} <= set(collector_pb2.Outcome.keys())
