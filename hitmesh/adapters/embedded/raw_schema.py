"""Define the tables of raw.db: raw records, refusals, dirty marks, claims, the stream's rows, partials and ledger.

Like hitmesh.adapters.embedded.schema, this module only defines names, keys and schema versions.
"""

from __future__ import annotations

from typing import Final

from hitmesh.adapters.embedded.schema import Migration


def _claims_table(table: str) -> str:
    """Return the statement that creates a table of claims on orders or refunds, as in the first schema version."""
    return f"""CREATE TABLE {table} (
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
        PRIMARY KEY (log_id, partition_no, record_offset, row_no)
    ) WITHOUT ROWID"""


def _holders_table(table: str) -> str:
    """Return the statement that creates a table of holders: for each order or refund, the claim that counts."""
    return f"""CREATE TABLE {table} (
        site TEXT NOT NULL,
        order_id TEXT NOT NULL,
        excluded INTEGER NOT NULL,
        log_id TEXT NOT NULL,
        partition_no INTEGER NOT NULL,
        record_offset INTEGER NOT NULL,
        row_no INTEGER NOT NULL,
        PRIMARY KEY (site, order_id, excluded)
    ) WITHOUT ROWID"""


def _claim_totals(table: str) -> tuple[str, str]:
    return (
        f"ALTER TABLE {table} ADD COLUMN total INTEGER",
        f"ALTER TABLE {table} ADD COLUMN currency TEXT NOT NULL DEFAULT ''",
    )


RAW_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE raw_records (
            record INTEGER PRIMARY KEY,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            record_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            min_event_time INTEGER NOT NULL,
            max_event_time INTEGER NOT NULL,
            schema_version INTEGER NOT NULL,
            site_days TEXT NOT NULL,
            value BLOB NOT NULL,
            UNIQUE (log_id, partition_no, record_offset)
        )""",
        """CREATE TABLE raw_index (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            record INTEGER NOT NULL,
            PRIMARY KEY (site, day, record)
        ) WITHOUT ROWID""",
        """CREATE TABLE rejected (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            record_offset INTEGER NOT NULL,
            row_no INTEGER NOT NULL,
            site TEXT NOT NULL,
            collect_time INTEGER NOT NULL,
            reason TEXT NOT NULL,
            field TEXT NOT NULL,
            message TEXT NOT NULL,
            hit_id TEXT NOT NULL,
            hits INTEGER NOT NULL,
            original BLOB NOT NULL,
            PRIMARY KEY (log_id, partition_no, record_offset, row_no)
        )""",
        "CREATE INDEX rejected_by_time ON rejected (site, collect_time, hits)",
        """CREATE TABLE dirty_marks (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            record_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            PRIMARY KEY (site, day, log_id, partition_no, record_offset)
        ) WITHOUT ROWID""",
        _claims_table("order_claims"),
        "CREATE INDEX order_claims_by_order ON order_claims (site, order_id)",
        """CREATE TABLE reader_positions (
            topic TEXT NOT NULL,
            group_name TEXT NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            PRIMARY KEY (topic, group_name, log_id, partition_no)
        ) WITHOUT ROWID""",
    ),
    (
        "ALTER TABLE dirty_marks ADD COLUMN hits INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE dirty_marks ADD COLUMN sum64 INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE dirty_marks ADD COLUMN xor64 INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE awaited_days (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            PRIMARY KEY (site, day)
        ) WITHOUT ROWID""",
        # For each order id, `order_holders` has the claim that counts in the stream (the holder). Settlement reads the
        # table of claims and ignores the holders.
        _holders_table("order_holders"),
        "CREATE INDEX order_holders_by_position ON order_holders (log_id, partition_no, record_offset, row_no)",
        # A single row with the newest writer's number, which fences earlier writers.
        "CREATE TABLE writers (newest INTEGER NOT NULL)",
        "INSERT INTO writers VALUES (0)",
        # Committed rows. A chunk holds a transaction's rows from a single source. Each chunk covers the sites in a
        # range of buckets. Chunk numbers are never reused, because readers cache rows by number.
        """CREATE TABLE stream_chunks (
            chunk INTEGER PRIMARY KEY AUTOINCREMENT,
            batch INTEGER NOT NULL,
            source TEXT NOT NULL,
            first_bucket INTEGER NOT NULL,
            end_bucket INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            value BLOB NOT NULL
        )""",
        # A blob holds folded rows from many transactions. Blobs on a higher level have older rows.
        """CREATE TABLE stream_blobs (
            blob INTEGER PRIMARY KEY AUTOINCREMENT,
            source TEXT NOT NULL,
            day INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            level INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            value BLOB NOT NULL
        )""",
        "CREATE INDEX stream_blobs_by_day ON stream_blobs (day, bucket, source, level, row_count)",
        # Dropped site-days. Chunks and blobs may still contain rows of dropped site-days, but no reader returns these
        # rows.
        """CREATE TABLE stream_dropped (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            PRIMARY KEY (site, day)
        ) WITHOUT ROWID""",
        """CREATE TABLE flushed (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            PRIMARY KEY (log_id, partition_no)
        ) WITHOUT ROWID""",
        """CREATE TABLE series_partials (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            cell INTEGER NOT NULL,
            excluded INTEGER NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            written INTEGER NOT NULL,
            sums BLOB NOT NULL,
            digest INTEGER NOT NULL,
            visitors BLOB,
            PRIMARY KEY (site, day, generation, cell, excluded, log_id, partition_no, epoch)
        ) WITHOUT ROWID""",
        # Log, partition and epoch come first in the key, so that entries that are written together are stored together.
        # A read of one site therefore costs an index look-up for each epoch.
        """CREATE TABLE ledger (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            site TEXT NOT NULL,
            kind TEXT NOT NULL,
            at INTEGER NOT NULL,
            class TEXT NOT NULL,
            written INTEGER NOT NULL,
            hits INTEGER NOT NULL,
            sum64 INTEGER NOT NULL,
            xor64 INTEGER NOT NULL,
            PRIMARY KEY (log_id, partition_no, epoch, site, kind, at, class)
        ) WITHOUT ROWID""",
        """CREATE TABLE ledger_epochs (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            PRIMARY KEY (log_id, partition_no, epoch)
        ) WITHOUT ROWID""",
        # For each partition and span length (an hour or a day), all entries before the epoch `end_epoch` are final and
        # merged.
        """CREATE TABLE ledger_folds (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            span_ms INTEGER NOT NULL,
            end_epoch INTEGER NOT NULL,
            PRIMARY KEY (log_id, partition_no, span_ms)
        ) WITHOUT ROWID""",
    ),
    (
        # From this schema version on, the sums of a partial are stored by currency. Until the stream overwrites an
        # existing partial, the partial has an empty currency and sums over all currencies.
        "ALTER TABLE series_partials RENAME TO series_of_none",
        """CREATE TABLE series_partials (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            cell INTEGER NOT NULL,
            excluded INTEGER NOT NULL,
            currency TEXT NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            written INTEGER NOT NULL,
            sums BLOB NOT NULL,
            digest INTEGER NOT NULL,
            visitors BLOB,
            PRIMARY KEY (site, day, generation, cell, excluded, currency, log_id, partition_no, epoch)
        ) WITHOUT ROWID""",
        """INSERT INTO series_partials
        SELECT site, day, generation, cell, excluded, '', log_id, partition_no, epoch, written, sums, digest, visitors
        FROM series_of_none""",
        "DROP TABLE series_of_none",
        """CREATE TABLE settled_series (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (site, day, generation)
        )""",
    ),
    (
        # `total` is the total of the order that the claim names. Claims from earlier schema versions and claims on
        # refunds have no total.
        *_claim_totals("order_claims"),
        # Claims on refunds have the same columns as claims on orders.
        _claims_table("refund_claims"),
        *_claim_totals("refund_claims"),
        "CREATE INDEX refund_claims_by_id ON refund_claims (site, order_id)",
        _holders_table("refund_holders"),
        "CREATE INDEX refund_holders_by_position ON refund_holders (log_id, partition_no, record_offset, row_no)",
        # The day of each refund that covers the whole total of an order.
        """CREATE TABLE whole_refunds (
            site TEXT NOT NULL,
            order_id TEXT NOT NULL,
            day INTEGER NOT NULL,
            PRIMARY KEY (site, order_id, day)
        ) WITHOUT ROWID""",
    ),
    # `packing` is the encoding of the column `original`: 0 means as sent, 1 means compressed with zlib.
    ("ALTER TABLE rejected ADD COLUMN packing INTEGER NOT NULL DEFAULT 0",),
    (
        # An encoded hitmesh.internal.log.v1.RefusalOrigin; empty if the origin is unknown.
        "ALTER TABLE rejected ADD COLUMN origin BLOB NOT NULL DEFAULT x''",
        # The time at which an accepted replay was recorded, in UTC ms; 0 means that no replay was accepted.
        "ALTER TABLE rejected ADD COLUMN replayed_at INTEGER NOT NULL DEFAULT 0",
        """CREATE INDEX rejected_by_cell ON rejected (
            collect_time / 900000 DESC, site, collect_time DESC, log_id DESC, partition_no DESC, record_offset DESC,
            row_no DESC
        )""",
    ),
    # A settler looks for closed days twice a second. Most awaited days are still open, so the search for closed days
    # needs an index.
    ("CREATE INDEX awaited_days_by_day ON awaited_days (day, site)",),
    (
        # Several streams may exist at the same time. The column `stream` holds the generation number of a stream's
        # rows; the first stream has the number 0.
        "ALTER TABLE stream_chunks ADD COLUMN stream INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE stream_blobs ADD COLUMN stream INTEGER NOT NULL DEFAULT 0",
        "DROP INDEX stream_blobs_by_day",
        "CREATE INDEX stream_blobs_by_day ON stream_blobs (day, bucket, source, level, row_count, stream)",
        "ALTER TABLE stream_dropped RENAME TO stream_dropped_before",
        """CREATE TABLE stream_dropped (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            bucket INTEGER NOT NULL,
            stream INTEGER NOT NULL,
            PRIMARY KEY (site, day, stream)
        ) WITHOUT ROWID""",
        "INSERT INTO stream_dropped SELECT site, day, bucket, 0 FROM stream_dropped_before",
        "DROP TABLE stream_dropped_before",
        "ALTER TABLE flushed RENAME TO flushed_before",
        """CREATE TABLE flushed (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            stream INTEGER NOT NULL,
            PRIMARY KEY (stream, log_id, partition_no)
        ) WITHOUT ROWID""",
        "INSERT INTO flushed SELECT log_id, partition_no, next_offset, log_time, 0 FROM flushed_before",
        "DROP TABLE flushed_before",
        # From this schema version on, the table `writers` has a row per stream.
        "ALTER TABLE writers ADD COLUMN stream INTEGER NOT NULL DEFAULT 0",
    ),
)
