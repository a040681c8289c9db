"""The value of a log record: accepted or refused hits as Arrow columns (architecture A3).

This module defines the names, types and order of the stored columns. If a record's schema version does not have a
column, the column is read as null. Golden files in the tests define the stored bytes of every released schema version.
"""

from __future__ import annotations

from io import BytesIO

import polars as pl

from hitmesh.model.stored import decoding, opened, sealed

HITS_SCHEMA_VERSION = 3
RECORD_CURE = "work that needs the record is postponed; restore the record from a backup of the log or of the raw store"

ITEM = pl.Struct(
    {
        "sku": pl.String,
        "category": pl.String,
        "brand": pl.String,
        "unit_price": pl.Int64,
        "quantity": pl.Int64,
    }
)

# The columns of accepted hits, with their types. Times are UTC milliseconds, amounts are micros. Strings that are empty
# or not set are stored as null, but `site` and `hit_id` are never null.
HITS_COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),  # merchants/{m}/sites/{s}
    "visitor_hi": pl.UInt64(),
    "visitor_lo": pl.UInt64(),
    "hit_id": pl.String(),
    "hit_hash": pl.UInt64(),  # hash64(hit_id); decides the order of hits with equal event_time (rule S0)
    "content_hash": pl.UInt64(),  # hash of payload and context, without edge and send times (rule D1)
    "event_time": pl.Int64(),  # rule T1
    "collect_time": pl.Int64(),
    "edge_time": pl.Int64(),
    "time_source": pl.UInt8(),  # hit_types.TimeSource
    "hit_type": pl.UInt8(),  # hit_types.HitType
    "interactive": pl.Boolean(),
    "offline": pl.Boolean(),
    "flags": pl.UInt32(),  # reasons.HitFlag
    "hostname": pl.String(),
    "page_path": pl.String(),  # path of the page; for a SCREEN_VIEW, the screen's name
    "page_query": pl.String(),
    "title": pl.String(),
    "http_status": pl.UInt16(),
    "referrer": pl.String(),
    "campaign_hash": pl.UInt64(),  # 0 if the hit has no campaign (rule S3)
    "utm_source": pl.String(),
    "utm_medium": pl.String(),
    "utm_campaign": pl.String(),
    "click_id": pl.String(),
    "utm_term": pl.String(),
    "utm_content": pl.String(),
    "user_agent": pl.String(),
    "language": pl.String(),
    "country": pl.String(),
    "device_type": pl.String(),  # the classifier sets the columns from device_type to referrer_host
    "browser": pl.String(),
    "os": pl.String(),
    "channel": pl.String(),
    "source": pl.String(),
    "medium": pl.String(),
    "referrer_host": pl.String(),
    "event_name": pl.String(),
    "product": pl.String(),  # sku of the first item in a PRODUCT_VIEW or CART_UPDATE
    "category": pl.String(),  # the category's levels, joined with "/"
    "brand": pl.String(),
    "cart_action": pl.UInt8(),  # hit_types.CartAction
    "checkout_step": pl.UInt8(),
    "foreground_ms": pl.Int64(),
    "order_id": pl.String(),  # set in ORDER and REFUND hits
    "currency": pl.String(),  # set in ORDER and REFUND hits, to the site's currency if none was sent
    "total": pl.Int64(),
    "subtotal": pl.Int64(),
    "shipping": pl.Int64(),
    "tax": pl.Int64(),
    "discount": pl.Int64(),
    "refund_amount": pl.Int64(),  # 0 if no amount was sent; settlement then uses the order's total (rule D3)
    "items": pl.List(ITEM),  # on ORDER
    "payload": pl.Binary(),  # the payload's bytes as sent, for every hit type except PAGE_VIEW
    "properties": pl.List(pl.Binary()),  # the properties' bytes, as sent
    "key_id": pl.String(),  # the ingest key's id, never its secret
    "batch_id": pl.String(),
    "batch_index": pl.UInt32(),
    "refund_id": pl.String(),  # Set in REFUND hits; absent in records before schema version 2.
    # The truncated client address (rule I1), if the site stores it; absent in records before schema version 3.
    "network": pl.String(),
}

# Refused hits: one row per refused hit, or per batch that was refused whole. `original` has at most 4 KiB. Records that
# an erasure changed have an additional column (hitmesh.model.rows.erased_refusals).
REJECTED_SCHEMA_VERSION = 2
REJECTED_COLUMNS: dict[str, pl.DataType] = {
    "site": pl.String(),  # "" if the key names no site
    "collect_time": pl.Int64(),
    "reason": pl.String(),  # name of a collector.v1.Reason, without the prefix REASON_
    "field": pl.String(),
    "message": pl.String(),
    "hit_id": pl.String(),
    "batch_id": pl.String(),
    "batch_index": pl.Int32(),  # -1 for a batch that was refused whole
    "hits": pl.Int64(),  # number of refused hits: 1, or all hits of a batch that was refused whole
    "original": pl.Binary(),
    "key_id": pl.String(),
    "origin": pl.Binary(),  # RefusalOrigin, set if `original` is set; absent in records before schema version 2
}


def pack_record(rows: pl.DataFrame) -> bytes:
    """Return the rows as a sealed Arrow IPC stream (hitmesh.model.stored), compressed with zstd.

    Example:
        >>> refusals = pl.DataFrame({"site": ["merchants/demo/sites/shop"], "reason": ["TIME_TOO_OLD"]})
        >>> record = pack_record(refusals)
        >>> unpack_record(record, {"site": pl.String()}).rows()
        [('merchants/demo/sites/shop',)]
    """
    target = BytesIO()
    as_int64_where_they_fit(rows).write_ipc_stream(target, compression="zstd", compat_level=pl.CompatLevel.newest())
    return sealed(target.getvalue())


def as_int64_where_they_fit(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows; Int128 columns become Int64 if all values fit, because Arrow has no wider integers.

    Example:
        >>> sums = pl.DataFrame({"tax": [10**18], "refunds": [10**19]}, schema={"tax": pl.Int128, "refunds": pl.Int128})
        >>> as_int64_where_they_fit(sums).dtypes
        [Int64, Int128]
    """
    wide = [name for name, dtype in rows.schema.items() if dtype == pl.Int128]
    narrow = (rows[name].cast(pl.Int64, strict=False) for name in wide)
    return rows.with_columns(column for column in narrow if column.null_count() == rows[column.name].null_count())


def unpack_record(value: bytes, columns: dict[str, pl.DataType]) -> pl.DataFrame:
    """Return a record's rows with exactly the given columns, in this order; columns that the record lacks are null.

    Raises:
        StoreCorrupt: the bytes are damaged, or a column cannot be cast to its type.

    Example:
        >>> before_refund_ids = pl.DataFrame({"order_id": ["1001"]})  # schema version 1
        >>> unpack_record(pack_record(before_refund_ids), {"refund_id": pl.String(), "order_id": pl.String()}).rows()
        [(None, '1001')]
    """
    inner = opened(value, "a record", RECORD_CURE)
    with decoding(f"a record of {len(value)} bytes", RECORD_CURE):
        rows = pl.read_ipc_stream(BytesIO(inner))
        found = rows.schema
        if list(found.items()) == list(columns.items()):
            return rows
        # Series are cast directly, because expressions for many columns take longer than small records.
        return pl.DataFrame(
            [
                (rows[name] if found[name] == dtype else rows[name].cast(dtype, strict=True))
                if name in found
                else pl.repeat(None, rows.height, dtype=dtype, eager=True).alias(name)
                for name, dtype in columns.items()
            ]
        )
