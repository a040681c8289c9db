"""The traffic of the benchmarks consists of page views from a real access log.

The page views are copied as often as needed, with new visitors. The traffic keeps the log's distribution of pages, user
agents, referrers, hits per visitor and gaps. Every 80th hit becomes an ORDER with two items. Copies differ in visitors,
hit ids and time of day, so that no hit duplicates another. The same arguments always give the same hits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urljoin

from hitmesh.api.hit.v1 import hit_pb2
from tests.generate.hits import generate_hits
from tests.reference.files import read_access_log
from tests.reference.hits import RefHit

ACCESS_LOG = Path(__file__).resolve().parents[3] / "shared" / "data" / "access.log"
HOSTNAME = "shop.example"
CURRENCY = "USD"
DAY_MS = 86_400_000
DAY = 16_572
"""The UTC day 2015-05-17, as the number of days since 1970-01-01."""
ORDER_EVERY = 80
FRAME_HITS = 100
_SHIFT_MS = 67_000
_MICROS = 1_000_000


@dataclass(frozen=True)
class Traffic:
    """Page views from a single day, from which any number of hits is generated."""

    views: Sequence[RefHit]
    source: str

    @cached_property
    def _protos(self) -> list[hit_pb2.Hit]:
        return [_proto(view, number) for number, view in enumerate(self.views)]

    def hits(self, count: int, day: int = DAY) -> Iterator[hit_pb2.Hit]:
        """Yield `count` hits on a UTC day, copy by copy. A yielded object changes when the next hit is yielded."""
        for number in range(count):
            copy, place = divmod(number, len(self.views))
            yield _as_copy(self._protos[place], self.views[place], copy, day)


def load_traffic() -> Traffic:
    """Return the traffic of the access log if the log exists.

    If there is no access log, return generated page views with plain paths.
    """
    if ACCESS_LOG.exists():
        views, _ = read_access_log(ACCESS_LOG, "")
        source = "access.log"
    else:
        distinct = {(hit.visitor, hit.hit_id): hit for hit in generate_hits(count=8_000) if _is_plain_view(hit)}
        views = list(distinct.values())
        source = "tests.generate"
    return Traffic(sorted((_on_the_day(view) for view in views), key=lambda view: view.event_time), source)


def _is_plain_view(hit: RefHit) -> bool:
    """Return whether the hit is a page view whose path is stored unchanged.

    A benchmark compares stored paths with sent paths, so admission must not change the paths.
    """
    return hit.type == "PAGE_VIEW" and re.fullmatch(r"[A-Za-z0-9/_-]*", hit.page_path or "") is not None


def frames(traffic: Traffic, keys: Sequence[str], count: int, day: int = DAY) -> list[bytes]:
    """Return `count` serialised HitBatches of FRAME_HITS hits. Each batch uses the next key of `keys`, in a cycle."""
    hits = traffic.hits(count * FRAME_HITS, day)
    return [_batch(f"bench-{day}-{number}", keys[number % len(keys)], hits, day) for number in range(count)]


def sequenced(batch_seq: int, batch: bytes) -> bytes:
    """Return the bytes of a StreamHitsRequest that contains an already serialised batch."""
    inner = b"\x08" + _varint(batch_seq) + b"\x12" + _varint(len(batch)) + batch
    return b"\x12" + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*groups, number))


def _batch(batch_id: str, key: str, hits: Iterator[hit_pb2.Hit], day: int) -> bytes:
    batch = hit_pb2.HitBatch(batch_id=batch_id, ingest_key=key)
    batch.sdk.name, batch.sdk.version = "hitmesh-python", "0.1.0"
    batch.client_send_time.FromMilliseconds((day + 1) * DAY_MS)
    batch.hits.extend(hit for _, hit in zip(range(FRAME_HITS), hits, strict=False))
    return batch.SerializeToString()


def _on_the_day(view: RefHit) -> RefHit:
    """Move a page view to DAY. A visitor whose views lie on two dates becomes two visitors."""
    date, time_of_day = divmod(view.event_time, DAY_MS)
    return replace(view, visitor=f"{date}\n{view.visitor}", event_time=DAY * DAY_MS + time_of_day)


def _proto(view: RefHit, number: int) -> hit_pb2.Hit:
    hit = hit_pb2.Hit(sequence=1 + number % 20)
    source, medium, campaign, click_id = view.campaign
    if any(view.campaign):
        hit.context.campaign.source, hit.context.campaign.medium = source, medium
        hit.context.campaign.campaign, hit.context.campaign.click_id = campaign, click_id
    hit.context.device.user_agent = view.user_agent
    hit.context.locale.language = "en-GB"
    if number % ORDER_EVERY == ORDER_EVERY - 1:
        hit.type = hit_pb2.HIT_TYPE_ORDER
        _fill_order(hit.order, number)
    else:
        hit.type = hit_pb2.HIT_TYPE_PAGE_VIEW
        hit.page_view.url = urljoin(f"https://{HOSTNAME}/", view.url or "/")
        hit.page_view.referrer = view.referrer or ""
        if not hit.page_view.url.startswith(f"https://{HOSTNAME}/"):  # generated hits are short: add a title
            hit.page_view.title = f"A page about {view.page_path}, with a title as long as many have"[:80]
        hit.page_view.http_status = 200
    return hit


def _fill_order(order: hit_pb2.Order, number: int) -> None:
    order.currency = CURRENCY
    for line in range(2):
        price = (500 + number % 997 + line) * _MICROS // 10
        order.items.add(
            sku=f"sku-{(number + line) % 61}", category=["home", "lamps"], unit_price_micros=price, quantity=1 + line
        )
    order.subtotal_micros = sum(item.unit_price_micros * item.quantity for item in order.items)
    order.total_micros = order.subtotal_micros


def _as_copy(hit: hit_pb2.Hit, view: RefHit, copy: int, day: int) -> hit_pb2.Hit:
    """Change the hit in place: set the ids and times of copy number `copy` on the given day."""
    at_ms = day * DAY_MS + (view.event_time + copy * _SHIFT_MS) % DAY_MS
    hit.hit_id = f"{(day - DAY) * 1_000 + copy:06d}{view.hit_id}"
    # The same visitor ids are used again after seven days.
    hit.visitor_id = blake2b(f"{day % 7}\n{copy}\n{view.visitor}".encode(), digest_size=14).hexdigest()
    hit.true_time.FromMilliseconds(at_ms)
    hit.client_create_time.FromMilliseconds(at_ms)
    if hit.type == hit_pb2.HIT_TYPE_ORDER:
        hit.order.order_id = f"order-{hit.hit_id}"
    return hit
