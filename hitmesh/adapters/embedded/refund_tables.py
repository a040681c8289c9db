"""Tables of claims on refunds, a migration of raw.db (see `schema`): they are like those of orders."""

from __future__ import annotations

from typing import Final

REFUND_TABLES: Final = (
    # What an order came to; not known of claims that are there. A refund has none.
    "ALTER TABLE order_claims ADD COLUMN total INTEGER",
    "ALTER TABLE order_claims ADD COLUMN currency TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE refund_claims (
        log_id TEXT NOT NULL,
        partition_no INTEGER NOT NULL,
        record_offset INTEGER NOT NULL,
        row_no INTEGER NOT NULL,
        site TEXT NOT NULL,
        order_id TEXT NOT NULL,
        log_time INTEGER NOT NULL,
        visitor_hi INTEGER NOT NULL,
        visitor_lo INTEGER NOT NULL,
        hit_id TEXT NOT NULL,
        day INTEGER NOT NULL,
        excluded INTEGER NOT NULL,
        duplicate INTEGER NOT NULL,
        total INTEGER,
        currency TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (log_id, partition_no, record_offset, row_no)
    ) WITHOUT ROWID""",
    "CREATE INDEX refund_claims_by_id ON refund_claims (site, order_id)",
    """CREATE TABLE refund_holders (
        site TEXT NOT NULL,
        order_id TEXT NOT NULL,
        excluded INTEGER NOT NULL,
        log_id TEXT NOT NULL,
        partition_no INTEGER NOT NULL,
        record_offset INTEGER NOT NULL,
        row_no INTEGER NOT NULL,
        PRIMARY KEY (site, order_id, excluded)
    ) WITHOUT ROWID""",
    "CREATE INDEX refund_holders_by_position ON refund_holders (log_id, partition_no, record_offset, row_no)",
    # Days of refunds that take the total of their order.
    """CREATE TABLE whole_refunds (
        site TEXT NOT NULL,
        order_id TEXT NOT NULL,
        day INTEGER NOT NULL,
        PRIMARY KEY (site, order_id, day)
    ) WITHOUT ROWID""",
)
