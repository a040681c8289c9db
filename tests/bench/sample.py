"""Compare records written by the collector with the batches sent, field by field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.keys import hash64, visitor_key
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from tests.bench.measured import Result
from tests.bench.sites import KEYS, SITES
from tests.reference.files import shown_path


def compare_sample(records: Sequence[Path], batches: Sequence[bytes]) -> Result:
    """Return the number of compared hits, and the first stored hits that differ from sent hits."""
    parsed = lru_cache(maxsize=64)(lambda number: hit_pb2.HitBatch.FromString(batches[number]))
    compared = 0
    differing = []
    for path in records:
        for row in unpack_record(path.read_bytes(), HITS_COLUMNS).iter_rows(named=True):
            batch = parsed(int(row["batch_id"].rpartition("-")[2]))
            wanted = _stored(batch, batch.hits[row["batch_index"]])
            stored = {name: row[name] for name in wanted}
            compared += 1
            if stored != wanted:
                differing.append({"stored": stored, "sent": wanted})
    return {"records": len(records), "hits": compared, "differing": differing[:3], "ok": compared > 0 and not differing}


def _stored(batch: hit_pb2.HitBatch, hit: hit_pb2.Hit) -> dict[str, Any]:
    """Return the values that must be stored for a sent hit."""
    site = SITES[KEYS.index(batch.ingest_key)]
    high, low = visitor_key(site.secret, "visitor", hit.visitor_id)
    campaign = hit.context.campaign
    return {
        "site": site.name,
        "visitor_hi": high,
        "visitor_lo": low,
        "hit_id": hit.hit_id,
        "hit_hash": hash64(hit.hit_id),
        "event_time": hit.true_time.ToMilliseconds(),
        "hit_type": hit.type,
        "user_agent": hit.context.device.user_agent or None,
        "language": hit.context.locale.language or None,
        "utm_source": campaign.source or None,
        "click_id": campaign.click_id or None,
        "batch_id": batch.batch_id,
        **(_of_order(hit.order) if hit.type == hit_pb2.HIT_TYPE_ORDER else _of_page_view(hit.page_view)),
    }


def _of_page_view(view: hit_pb2.PageView) -> dict[str, Any]:
    url = urlsplit(view.url)
    return {
        "hostname": url.hostname,
        "page_path": shown_path(url.path),
        "page_query": url.query or None,
        "referrer": view.referrer or None,
        "http_status": view.http_status,
        "order_id": None,
    }


def _of_order(order: hit_pb2.Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "currency": order.currency,
        "total": order.total_micros,
        "subtotal": order.subtotal_micros,
        "items": [
            {
                "sku": item.sku,
                "category": "/".join(item.category),
                "brand": item.brand or None,
                "unit_price": item.unit_price_micros,
                "quantity": item.quantity,
            }
            for item in order.items
        ],
        "page_path": None,
    }
