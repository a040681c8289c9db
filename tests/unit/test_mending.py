"""Test how kept bytes become hits again: edits, ids, event times, and bytes that do not give a hit."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from collector.admission.kept import MAX_CONTEXT_BYTES, MAX_FIELDS, without_secrets
from control.rpc.rejected.messages import rejected_message
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.edits import MAX_EDITS, Edits, Unmendable, edits_of
from hitmesh.client.hit_fields import require_found, require_known
from hitmesh.client.mending import kept_of, mended
from hitmesh.model.errors import RefusedError
from hitmesh.model.keys import hash64
from hitmesh.model.positions import Position
from hitmesh.model.records import Origin, RejectedHit
from hitmesh.model.refusals import JSON_MARK
from tests.support.admitting import NOW, SITE, a_hit, admitted
from tests.support.refused import refused_json, refused_of

NO_EDITS = Edits()
MINUTE = 60_000


def fields(**values: object) -> dict[str, object]:
    return {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}} | values


def only_hit(rejected: pb.RejectedHit, edits: Edits = NO_EDITS) -> hit_pb2.Hit:
    (hit,) = mended(rejected, edits).hits
    return hit


def event_time(rejected: pb.RejectedHit, edits: Edits = NO_EDITS) -> int:
    hit = only_hit(rejected, edits)
    assert hit.client_create_time == hit.true_time
    return hit.true_time.ToMilliseconds()


def test_a_field_with_the_wrong_name_is_renamed_in_json_as_it_was_sent() -> None:
    sent = fields(hitId="h1", visitor="v9")
    del sent["visitorId"]
    (rejected,) = refused_json(sent)
    assert rejected.form == pb.REJECTED_HIT_FORM_HIT_JSON
    hit = only_hit(rejected, edits_of([], ["visitor=visitor_id"], []))
    assert (hit.hit_id, hit.visitor_id, hit.page_view.url) == ("h1", "v9", "/")


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (edits_of(["pageView.url=/b"], [], []), {"pageView": {"url": "/b"}, "n": [1, {"a": 2}]}),
        (edits_of(["page_view.url=/b"], [], []), {"pageView": {"url": "/b"}, "n": [1, {"a": 2}]}),
        (edits_of(["n.1.a=true"], [], ["pageView"]), {"n": [1, {"a": True}]}),
        (
            edits_of(['x.y={"z": [1]}'], [], ["n.0", "absent.field"]),
            {"pageView": {"url": "/"}, "n": [{"a": 2}]} | {"x": {"y": {"z": [1]}}},
        ),
        (edits_of([], ["n=m", "absent=other"], []), {"pageView": {"url": "/"}, "m": [1, {"a": 2}]}),
        (edits_of(["a=b=c", "b="], [], []), {"pageView": {"url": "/"}, "n": [1, {"a": 2}], "a": "b=c", "b": ""}),
    ],
)
def test_edits_apply_to_paths_in_either_spelling(edits: Edits, expected: dict[str, Any]) -> None:
    hit = {"pageView": {"url": "/"}, "n": [1, {"a": 2}]}
    assert edits.applied(hit) == expected
    assert hit == {"pageView": {"url": "/"}, "n": [1, {"a": 2}]}


@pytest.mark.parametrize("text", ["", "=", "a", "a..b=1", "a" + ".a" * 40 + "=1"])
def test_an_edit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        edits_of([text], [], [])


def test_the_number_of_edits_is_bounded() -> None:
    with pytest.raises(RefusedError, match="50"):
        edits_of(["a=1"] * (MAX_EDITS + 1), [], [])


@pytest.mark.parametrize("path", ["visitorId.x=1", "n.7=1", "n.x.y=1"])
def test_an_edit_through_a_value_that_is_no_object_is_an_error_of_the_hit(path: str) -> None:
    with pytest.raises(Unmendable):
        edits_of([path], [], []).applied({"visitorId": "v", "n": [1]})


@pytest.mark.parametrize(
    ("values", "renames", "cure"),
    [
        (["tureTime=2026-01-01T00:00:00Z"], [], "did you mean trueTime"),
        (["visitorid=v"], [], "did you mean visitorId"),
        (["a.b=c"], [], "use one of hitId, type,"),
        (["order.curency=EUR"], [], "in order, did you mean currency"),
        (["order.items.0.quantty=1"], [], "in order.items.0, did you mean quantity"),
        (["visitorId.x=1"], [], "set visitorId itself"),
        (["trueTime.seconds=1"], [], "set trueTime itself"),
        ([], ["visitor=visitrId"], "did you mean visitorId"),
    ],
)
def test_a_name_that_is_no_field_is_refused_with_the_nearest(values: list[str], renames: list[str], cure: str) -> None:
    with pytest.raises(RefusedError, match="is not a field of ") as refused:
        require_known(edits_of(values, renames, []))
    assert cure in refused.value.message


def test_every_field_of_a_hit_is_known_in_both_spellings() -> None:
    known = ["trueTime=x", "true_time=x", "order.items.0.quantity_exact=1.5", "properties.any.stringValue=a"]
    require_known(edits_of(known, ["visitor=visitor_id"], ["nosuch"]))


@pytest.mark.parametrize(
    ("renames", "drops", "cure"),
    [
        (["vistor=visitorId"], [], "did you mean visitor?"),
        ([], ["nosuch"], "use one of visitor, pageView, pageView.url"),
    ],
)
def test_a_field_that_no_hit_has_is_refused_with_the_nearest(renames: list[str], drops: list[str], cure: str) -> None:
    edits = edits_of([], renames, drops)
    hits: list[Any] = [{"visitor": "v"}, "no hit", {"pageView": {"url": "/"}}]
    with pytest.raises(RefusedError) as refused:
        require_found(edits, hits)
    assert cure in refused.value.message
    require_found(edits, [])
    require_found(edits, ["no hit"])


def test_a_field_that_one_hit_has_is_enough_and_later_hits_are_not_read() -> None:
    hits = iter([{"b": 1}, {"visitor": "v", "note": 1}, {"c": 1}, {"d": 1}])
    require_found(edits_of([], ["visitor=visitorId", "visitorId=userId"], ["note"]), hits)
    assert next(hits) == {"d": 1}


def test_the_event_time_is_that_of_the_refusal() -> None:
    assert event_time(refused_of(a_hit(visitor_id=""))) == NOW
    true = NOW - 40 * MINUTE
    assert event_time(refused_of(a_hit(visitor_id="", true_time=true))) == true
    assert event_time(refused_of(a_hit(visitor_id="", at=NOW - 7_000), sent=NOW - 2_000)) == NOW - 5_000
    assert event_time(refused_of(a_hit(visitor_id="", at=NOW - 7_000))) == NOW
    assert event_time(refused_of(a_hit(visitor_id="", at=NOW - 1_000), sent=NOW - 2_000)) == NOW


def test_a_true_time_counts_only_for_a_key_that_may_set_times_or_when_an_edit_sets_it() -> None:
    of_browser = refused_of(a_hit(visitor_id="", true_time=NOW - 40 * MINUTE), key="browser")
    assert event_time(of_browser) == NOW
    assert event_time(of_browser, edits_of(["true_time=2023-11-14T22:00:00Z"], [], [])) == NOW - 800_000


def test_a_time_in_the_future_becomes_the_collect_time() -> None:
    assert event_time(refused_of(a_hit(true_time=NOW + 50 * 3_600_000))) == NOW


def test_a_hit_without_id_gets_the_id_that_the_collector_derives() -> None:
    rejected = refused_of(a_hit("", visitor_id=""), batch_id="b7")
    sent_again = admitted_id(a_hit(""), "b7")
    assert only_hit(rejected).hit_id == sent_again == f"{hash64('id-of-server', 'b7', '0'):016x}"


def admitted_id(hit: hit_pb2.Hit, batch_id: str) -> str:
    batch = hit_pb2.HitBatch(batch_id=batch_id, ingest_key="server", hits=[hit])
    return str(admitted(batch.SerializeToString()).hits["hit_id"][0])


def test_without_a_batch_id_the_id_depends_on_the_refusal_only() -> None:
    rejected = refused_of(a_hit("", visitor_id=""), batch_id="")
    assert only_hit(rejected).hit_id == only_hit(rejected).hit_id != ""
    other = pb.RejectedHit()
    other.CopyFrom(rejected)
    other.name = rejected.name.replace("_0_0_0_", "_0_1_0_")
    assert only_hit(other).hit_id != only_hit(rejected).hit_id


def test_the_default_context_of_the_batch_is_kept() -> None:
    context = hit_pb2.Context(device=hit_pb2.Device(user_agent="Firefox"))
    assert mended(refused_of(a_hit(visitor_id=""), default_context=context), NO_EDITS).default_context == context


def test_a_batch_under_an_unknown_key_keeps_hits_batch_id_and_order_but_no_key() -> None:
    hits = [a_hit("h1", true_time=NOW - MINUTE), a_hit("")]
    rejected = refused_of(*hits, key="hms_unknown-key-of-32-characters", batch_id="b9")
    assert (rejected.form, rejected.site, rejected.hits) == (pb.REJECTED_HIT_FORM_BATCH, "", 2)
    assert b"hms_" not in rejected.original
    found = mended(rejected, NO_EDITS)
    assert ([hit.hit_id for hit in found.hits], found.batch_id) == (["h1", ""], "b9")
    assert [hit.true_time.ToMilliseconds() for hit in found.hits] == [NOW - MINUTE, NOW]


def test_json_under_an_unknown_key_keeps_its_hits_but_no_key() -> None:
    secret = "hms_unknown-key-of-32-characters"
    (rejected,) = refused_json(fields(hitId="h1"), fields(hitId="h2"), key=secret)
    assert rejected.form == pb.REJECTED_HIT_FORM_BATCH_JSON
    assert secret.encode() not in rejected.original
    assert [hit.hit_id for hit in mended(rejected, NO_EDITS).hits] == ["h1", "h2"]
    assert kept_of(rejected).batch["ingestKey"] == ""


def test_a_key_is_not_kept_however_the_batch_ends() -> None:
    secret = "hms_unknown-key-of-32-characters"
    for url in ("/", "/" + "x" * 9_000):
        (rejected,) = refused_json(fields(pageView={"url": url}), key=secret, client_ip="203.0.113.77")
        assert not any(text in rejected.original for text in (secret.encode(), b"203.0.113"))
    edge = hit_pb2.EdgeContext(client_ip="203.0.113.77")
    for size in (1, 90):
        hits = [a_hit(f"h{number}", page_view=hit_pb2.PageView(url="/" * 90)) for number in range(size)]
        rejected = refused_of(*hits, key=secret, edge=edge)
        assert not any(text in rejected.original for text in (secret.encode(), b"203.0.113"))
        assert (rejected.replay_obstacle == "") == (size == 1)


def test_cut_bytes_are_never_replayed() -> None:
    long = a_hit(visitor_id="", page_view=hit_pb2.PageView(url="/", title="t" * 5_000))
    rejected = refused_of(long)
    assert (len(rejected.original), rejected.original_size) == (4_096, long.ByteSize())
    with pytest.raises(Unmendable, match="first 4,096 of"):
        mended(rejected, NO_EDITS)


def test_a_default_context_that_is_too_large_to_keep_prevents_the_replay() -> None:
    context = hit_pb2.Context(device=hit_pb2.Device(user_agent="F" * MAX_CONTEXT_BYTES))
    with pytest.raises(Unmendable):
        mended(refused_of(a_hit(visitor_id=""), default_context=context), NO_EDITS)


def test_the_work_per_refused_batch_is_bounded_whatever_its_fields() -> None:
    assert without_secrets(b"\x42\x00" * MAX_FIELDS) == (b"", True)
    assert without_secrets(b"\x42\x00" * (MAX_FIELDS + 1)) == (b"", False)
    assert without_secrets(b"\x32\x00" * 500_000) == (b"\x32\x00" * 2_048, False)


def test_a_quantity_with_decimals_stays_as_it_was_sent() -> None:
    order = {"orderId": "o", "currency": "XXY", "items": [{"sku": "s", "quantity": 1.5}]}
    (rejected,) = refused_json({"type": "HIT_TYPE_ORDER", "visitorId": "v", "order": order})
    hit = only_hit(rejected, edits_of(["order.currency=EUR"], [], []))
    assert (hit.order.currency, hit.order.items[0].quantity_exact) == ("EUR", 1.5)


def kept(original: bytes, *, is_json: bool = False, index: int = 0) -> pb.RejectedHit:
    """Return a refused hit whose kept bytes are `original`."""
    origin = Origin("b", index, "k", len(original), True, is_json, b"", NOW, 0, True)
    stored = (JSON_MARK if is_json else b"") + original
    place = Position("rejected.1", 0, 0)
    return rejected_message(RejectedHit(place, 0, SITE.name, NOW, "DECODE", "", "broken", "", 1, stored, origin))


HOSTILE = [
    b"",
    b"\xff",
    b"[" * 4_000,
    b'{"a":' * 600 + b"1" + b"}" * 600,
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b'{"hitId": "\\ud800"}',
    b'{"hitId": ' + b"9" * 4_000 + b"}",
    b'{"pageView": {"url": NaN}}',
    b"null",
    b'{"hits": 3}',
    b'{"hits": [1, null, [], "x"]}',
    b'{"clientCreateTime": "9999-12-31T23:59:59Z", "trueTime": "0001-01-01T00:00:00Z"}',
    b"\x1a\x0b\x08" + b"\xff" * 8 + b"\x7f" + b"\x10\x00",
    b"\x0b" * 200,
]


@pytest.mark.parametrize("original", HOSTILE)
@pytest.mark.parametrize("is_json", [True, False])
@pytest.mark.parametrize("index", [0, -1])
def test_hostile_bytes_are_an_error_of_the_hit_or_a_hit(original: bytes, is_json: bool, index: int) -> None:
    rejected = kept(original, is_json=is_json, index=index)
    found: tuple[hit_pb2.Hit, ...] = ()
    with contextlib.suppress(Unmendable):
        found = mended(rejected, edits_of(["pageView.url=/"], ["a=b"], ["c"])).hits
    assert all(hit.SerializeToString() for hit in found)


def test_kept_json_can_be_printed_as_json() -> None:
    printed = json.dumps(kept_of(kept(b'{"x": [NaN, -Infinity], "y": "\\u001b[2J"}', is_json=True)).hits)
    assert json.loads(printed) == [{"x": ["NaN", "-Infinity"], "y": "\x1b[2J"}]
