"""Properties of admission. A hit's result depends on no other hit, all hits are counted, and nothing raises."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from collector.admission import Admitted, Frame
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.rows.columns import HITS_COLUMNS
from tests.support.admitting import BROWSER, EDGE, FIREFOX, IMPORT, NOW, SERVER, a_frame, a_hit, admitted

DAY_MS = 86_400_000

words = st.sampled_from(["", "a", "b", "ä", "🛒", "x" * 300, "a\0", 'quote" back\\', "utm_source=x"])
urls = st.sampled_from(
    ["/", "/a?utm_source=x&gclid=%31", "https://Shop.example:80/p?q#f", "nowhere", "", "/" + "é" * 1_200, "/\0", "//x"]
)
times = st.integers(NOW - 80 * DAY_MS, NOW + 2 * DAY_MS) | st.integers(NOW - DAY_MS, NOW)
amounts = st.sampled_from([0, 1, -1, 10**18, 10**18 + 1, -(1 << 63), 5_000_000])
items = st.builds(
    hit_pb2.Item,
    sku=words,
    category=st.lists(words, max_size=7),
    brand=words,
    unit_price_micros=amounts,
    quantity=st.sampled_from([None, 0, 1, 3, -2, 1_000_001]),
    quantity_exact=st.sampled_from([None, None, None, 0.0, 1.5, -0.1, 1e7, float("nan")]),
)
currencies = st.sampled_from(["", "EUR", "usd", "XXY"])
campaigns = st.builds(hit_pb2.Campaign, source=words, medium=words, click_id=words)
contexts = st.builds(
    hit_pb2.Context,
    campaign=st.none() | campaigns,
    device=st.none()
    | st.builds(hit_pb2.Device, user_agent=st.sampled_from(["", FIREFOX, "curl/8.0", "Googlebot/2.1"])),
    consent=st.none() | st.builds(hit_pb2.Consent, analytics=st.sampled_from([0, 1, 1, 2])),
)
payloads = st.one_of(
    st.builds(
        lambda url, text: {"type": 1, "page_view": hit_pb2.PageView(url=url, title=text, referrer=text)}, urls, words
    ),
    st.builds(lambda text: {"type": 2, "screen_view": hit_pb2.ScreenView(screen_name=text)}, words),
    st.builds(
        lambda text, on: {"type": 3, "event": hit_pb2.CustomEvent(name=text, interactive=on)}, words, st.booleans()
    ),
    st.builds(
        lambda listed, action: {"type": 6, "cart": hit_pb2.CartUpdate(action=action, items=listed)},
        st.lists(items, max_size=2),
        st.sampled_from([0, 1, 2]),
    ),
    st.builds(
        lambda order, code, total, listed: {
            "type": 8,
            "order": hit_pb2.Order(order_id=order, currency=code, total_micros=total, items=listed),
        },
        words,
        currencies,
        amounts,
        st.lists(items, max_size=3),
    ),
    st.builds(
        lambda order, refund, kind, amount, code: {
            "type": 9,
            "refund": hit_pb2.Refund(order_id=order, refund_id=refund, kind=kind, amount_micros=amount, currency=code),
        },
        words,
        words,
        st.sampled_from([0, 1, 2, 3]),
        amounts,
        currencies,
    ),
    st.builds(lambda item, sku: {"type": 13, "product_view": hit_pb2.ProductView(sku=sku, item=item)}, items, words),
    st.just({"type": 0}),
)


@st.composite
def sound_hits(draw: st.DrawFn) -> hit_pb2.Hit:
    """Draw a hit that is valid protobuf. Admission may accept or refuse the hit."""
    hit = a_hit(
        draw(st.sampled_from(["h1", "h2", "long" * 20])),
        at=draw(st.none() | times),
        true_time=draw(st.none() | times),
        visitor_id=draw(st.sampled_from(["v1", "v2", "", "v\0", "v" * 200])),
        offline=draw(st.booleans()),
        context=draw(st.none() | contexts),
        **draw(payloads),
    )
    for key in draw(st.lists(st.sampled_from(["k", "", "k" * 65]), max_size=2)):
        hit.properties[key].string_value = draw(words)
    return hit


broken_hits = st.sampled_from(
    [b"\xff\xff", b"\x0a\x02\xff\xfe", b"\x10\x08\xda\x01\x02\x0a\xff", b"\x0a\x90\x80\x02" + b"x" * 32_784]
)
any_hits = sound_hits().map(hit_pb2.Hit.SerializeToString) | broken_hits


@st.composite
def frames(draw: st.DrawFn, hits: st.SearchStrategy[bytes] = any_hits) -> Frame:
    envelope = view_pb2.HitBatchEnvelope(
        batch_id=draw(st.sampled_from(["", "b1", "b" * 80, "b\0"])),
        ingest_key=draw(st.sampled_from([SERVER, BROWSER, EDGE, IMPORT, "unknown", ""])),
        hits=draw(st.lists(hits, max_size=6)),
        default_context=draw(st.none() | contexts.map(hit_pb2.Context.SerializeToString) | st.just(b"\xff")) or b"",
        edge=hit_pb2.EdgeContext(
            client_ip=draw(st.sampled_from(["", "10.1.2.3", "x"])), country="DE"
        ).SerializeToString(),
    )
    if sent := draw(st.none() | times):
        envelope.client_send_time.FromMilliseconds(sent)
    return a_frame(envelope.SerializeToString(), default_key=draw(st.sampled_from(["", SERVER])))


def merged(parts: Sequence[Admitted], column: str) -> pl.DataFrame:
    """Merge the results of frames that were admitted separately.

    The merged result has the same form as the result of frames that were admitted together.
    """
    tables: list[pl.DataFrame] = [
        getattr(part, column).with_columns(pl.lit(number, pl.UInt32()).alias("frame"))
        for number, part in enumerate(parts)
    ]
    return pl.concat(tables).sort("frame", "batch_index")


@given(st.lists(frames(), min_size=1, max_size=5))
def test_frames_together_are_taken_like_one_by_one(micro_batch: list[Frame]) -> None:
    together = admitted(*micro_batch)
    alone = [admitted(frame) for frame in micro_batch]
    assert_frame_equal(together.hits.sort("frame", "batch_index"), merged(alone, "hits"))
    assert_frame_equal(together.rejected.sort("frame", "batch_index"), merged(alone, "rejected"))
    assert together.accepted.tolist() == [int(part.accepted[0]) for part in alone]
    assert [(issue.frame, issue.index, issue.reason, issue.field, issue.message) for issue in together.issues] == [
        (number, issue.index, issue.reason, issue.field, issue.message)
        for number, part in enumerate(alone)
        for issue in part.issues
    ]


@given(st.lists(st.tuples(any_hits, st.booleans()), min_size=1, max_size=8))
def test_hits_are_judged_whatever_stands_beside_them(hits: list[tuple[bytes, bool]]) -> None:
    def taken(chosen: Sequence[bytes]) -> pl.DataFrame:
        batch = view_pb2.HitBatchEnvelope(batch_id="b", ingest_key=SERVER, hits=chosen).SerializeToString()
        return admitted(a_frame(batch)).hits.sort("batch_index")

    everything = taken([hit for hit, _ in hits])
    chosen = [index for index, (_, keep) in enumerate(hits) if keep]
    fewer = taken([hits[index][0] for index in chosen])
    places = pl.DataFrame({"batch_index": chosen}, schema={"batch_index": pl.UInt32()})
    there = places.join(everything, on="batch_index", how="inner", maintain_order="left")
    assert_frame_equal(fewer.drop("batch_index"), there.select(fewer.columns).drop("batch_index"))


@given(st.lists(frames(), max_size=5))
def test_every_hit_is_accepted_or_refused_and_no_nul_is_stored(micro_batch: list[Frame]) -> None:
    found = admitted(*micro_batch)
    refused = dict(found.rejected.group_by("frame").agg(pl.col("hits").sum()).iter_rows())
    for number, frame in enumerate(micro_batch):
        sent = len(view_pb2.HitBatchEnvelope.FromString(frame.batch).hits)
        assert found.accepted[number] + refused.get(number, 0) == sent
    texts = [name for name, dtype in HITS_COLUMNS.items() if dtype == pl.String()]
    stored = found.hits.select(pl.col(texts).str.contains("\0", literal=True).any())
    assert not any(stored.row(0) if stored.height else ())
    assert found.hits.select(pl.col("site", "hit_id", "visitor_lo", "event_time").null_count()).row(0) == (0, 0, 0, 0)


@given(st.lists(st.binary(max_size=60) | frames().map(lambda frame: frame.batch), max_size=3), st.randoms())
def test_damaged_bytes_are_refused_never_raised(batches: list[bytes], dice: object) -> None:
    damaged = []
    for batch in batches:
        changed = bytearray(batch)
        for _ in range(2):
            if changed:
                changed[dice.randrange(len(changed))] = dice.randrange(256)  # type: ignore[attr-defined]  # a Random
        damaged.append(bytes(changed))
    good = a_frame(hit_pb2.HitBatch(ingest_key=SERVER, hits=[a_hit()]).SerializeToString())
    found = admitted(*map(a_frame, damaged), good)
    assert found.accepted[-1] == 1
