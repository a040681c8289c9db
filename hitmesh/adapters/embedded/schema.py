"""Define the tables of all embedded files except raw.db, whose schema is in the module `raw_schema`.

This module only defines names, keys and schema versions. A schema is an append-only list of migrations; version n
consists of the first n migrations. Each file has a main writer. The collector writes log.db and the salts, which are in
directory.db. The processor writes raw.db, state.db and settled.db. The control service writes directory.db and the
reprocessings, which are in settled.db. SQLite integers are signed, so unsigned 64-bit values are stored as the signed
number with the same bits.
"""

from __future__ import annotations

from typing import Final

Migration = tuple[str, ...]


LOG_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE logs (
            topic TEXT PRIMARY KEY,
            log_id TEXT NOT NULL UNIQUE,
            partitions INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # A partition's end is in a separate table, because the end must remain when all records are trimmed.
        """CREATE TABLE ends (
            topic TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            PRIMARY KEY (topic, partition_no)
        ) WITHOUT ROWID""",
        """CREATE TABLE records (
            topic TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            record_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            kind INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            min_event_time INTEGER NOT NULL,
            max_event_time INTEGER NOT NULL,
            max_collect_time INTEGER NOT NULL,
            schema_version INTEGER NOT NULL,
            collector TEXT NOT NULL,
            classifier_version TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (topic, partition_no, record_offset)
        )""",
    ),
    (
        # For each record, the number and the checksums of the hits that the ledger must count (rule D5). If the ledger
        # must count no hit of a record, `hits` is NULL.
        "ALTER TABLE records ADD COLUMN hits INTEGER",
        "ALTER TABLE records ADD COLUMN sum64 INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE records ADD COLUMN xor64 INTEGER NOT NULL DEFAULT 0",
    ),
    # The trace context of the span that appended the record (W3C traceparent); "" if the trace is not recorded.
    ("ALTER TABLE records ADD COLUMN trace TEXT NOT NULL DEFAULT ''",),
)

SETTLED_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        # The last issued generation number of each site-day, and the attempts that are still pending.
        """CREATE TABLE attempt_counters (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            last_generation INTEGER NOT NULL,
            PRIMARY KEY (site, day)
        ) WITHOUT ROWID""",
        """CREATE TABLE attempts (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            PRIMARY KEY (site, day, generation)
        ) WITHOUT ROWID""",
        """CREATE TABLE generations (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            logic_version INTEGER NOT NULL,
            read_through TEXT NOT NULL,
            published_at INTEGER NOT NULL,
            accepted INTEGER NOT NULL,
            counted INTEGER NOT NULL,
            duplicate INTEGER NOT NULL,
            excluded INTEGER NOT NULL,
            sum64 INTEGER NOT NULL,
            xor64 INTEGER NOT NULL,
            carry BLOB NOT NULL,
            PRIMARY KEY (site, day, sequence)
        )""",
        "CREATE UNIQUE INDEX generations_by_sequence ON generations (site, sequence)",
        """CREATE TABLE superseded (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            superseded_at INTEGER NOT NULL,
            PRIMARY KEY (site, day, generation)
        ) WITHOUT ROWID""",
        """CREATE TABLE segments (
            segment INTEGER PRIMARY KEY,
            file TEXT NOT NULL UNIQUE,
            source TEXT NOT NULL,
            site TEXT NOT NULL
        )""",
        "CREATE INDEX segments_by_site ON segments (site, source)",
        # All rows of a site-day's generation are consecutive rows in a single file.
        """CREATE TABLE manifest (
            site TEXT NOT NULL,
            source TEXT NOT NULL,
            day INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            segment INTEGER NOT NULL,
            first_row INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            PRIMARY KEY (site, source, day, generation)
        ) WITHOUT ROWID""",
        "CREATE INDEX manifest_by_segment ON manifest (segment)",
    ),
    (
        # The difference between a site-day's first settlement and the stream, as JSON. A row in `drifts` stays
        # unchanged when later settlements replace the site-day's entry.
        """CREATE TABLE drifts (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            drift TEXT NOT NULL,
            PRIMARY KEY (site, day)
        ) WITHOUT ROWID""",
        "CREATE INDEX drifts_by_day ON drifts (day)",
    ),
    (
        # The column `value` also contains the version. Updates compare the stored version, so the version also has a
        # column.
        """CREATE TABLE reprocessings (
            id TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            value BLOB NOT NULL
        )""",
        """CREATE TABLE rebuilt_site_days (
            reprocessing TEXT NOT NULL,
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (reprocessing, site, day)
        )""",
        # The index on `superseded` is needed because generations that are kept for a rollback stay in the table for
        # weeks.
        "CREATE INDEX superseded_by_time ON superseded (superseded_at)",
    ),
    (
        # The table `past_entries` holds all entries that ever became current. Reports at an earlier data version need
        # the replaced entries. The table `generations` has only one entry per generation.
        """CREATE TABLE past_entries (
            site TEXT NOT NULL,
            day INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            logic_version INTEGER NOT NULL,
            published_at INTEGER NOT NULL,
            PRIMARY KEY (site, day, sequence)
        ) WITHOUT ROWID""",
        """INSERT INTO past_entries SELECT site, day, sequence, generation, logic_version, published_at
            FROM generations""",
    ),
    (
        "ALTER TABLE generations ADD COLUMN erased INTEGER NOT NULL DEFAULT 0",
        # The table `erasures` lists the visitors whose hits are refused up to an event time (`until`). The digest is a
        # hash of the visitor key.
        """CREATE TABLE erasures (
            site TEXT NOT NULL,
            digest TEXT NOT NULL,
            until INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            reprocessing TEXT NOT NULL,
            PRIMARY KEY (site, digest)
        ) WITHOUT ROWID""",
        "CREATE INDEX erasures_by_time ON erasures (created_at)",
    ),
    # The version of the exclusion rules with which a generation was settled. 0 means that the collector decided which
    # hits are excluded.
    ("ALTER TABLE generations ADD COLUMN rules_version INTEGER NOT NULL DEFAULT 0",),
    # The table `streams` holds the stream table (hitmesh.model.streams) as a single value.
    ("CREATE TABLE streams (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, value BLOB NOT NULL)",),
)

STATE_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE snapshots (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            writer INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            chunk_no INTEGER NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (log_id, partition_no, writer, next_offset, chunk_no)
        )""",
        """CREATE TABLE snapshot_manifests (
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            writer INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            logic_version INTEGER NOT NULL,
            kept_from INTEGER NOT NULL,
            chunks INTEGER NOT NULL,
            PRIMARY KEY (log_id, partition_no)
        ) WITHOUT ROWID""",
    ),
    (
        # From this schema version on, each stream has its own snapshots. The column `stream` holds the generation
        # number of a stream's rows; the first stream has the number 0.
        "ALTER TABLE snapshots RENAME TO snapshots_before",
        """CREATE TABLE snapshots (
            stream INTEGER NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            writer INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            chunk_no INTEGER NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (stream, log_id, partition_no, writer, next_offset, chunk_no)
        )""",
        "INSERT INTO snapshots SELECT 0, * FROM snapshots_before",
        "DROP TABLE snapshots_before",
        "ALTER TABLE snapshot_manifests RENAME TO manifests_before",
        """CREATE TABLE snapshot_manifests (
            stream INTEGER NOT NULL,
            log_id TEXT NOT NULL,
            partition_no INTEGER NOT NULL,
            writer INTEGER NOT NULL,
            next_offset INTEGER NOT NULL,
            log_time INTEGER NOT NULL,
            logic_version INTEGER NOT NULL,
            kept_from INTEGER NOT NULL,
            chunks INTEGER NOT NULL,
            PRIMARY KEY (stream, log_id, partition_no)
        ) WITHOUT ROWID""",
        "INSERT INTO snapshot_manifests SELECT 0, * FROM manifests_before",
        "DROP TABLE manifests_before",
    ),
)

DIRECTORY_SCHEMA: Final[tuple[Migration, ...]] = (
    (
        """CREATE TABLE sites (
            name TEXT PRIMARY KEY,
            merchant TEXT NOT NULL,
            time_zone TEXT NOT NULL,
            currency TEXT NOT NULL,
            secret BLOB NOT NULL,
            created_at INTEGER NOT NULL,
            spread INTEGER NOT NULL,
            policy TEXT NOT NULL,
            cookieless_counting INTEGER NOT NULL,
            consent_by_default INTEGER NOT NULL,
            identify_by_user_id INTEGER NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX sites_by_merchant ON sites (merchant, name)",
        """CREATE TABLE ingest_keys (
            merchant TEXT NOT NULL,
            key_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            site TEXT,
            unbounded_history INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            revoked_at INTEGER,
            secret_digest BLOB NOT NULL UNIQUE,
            PRIMARY KEY (merchant, key_id)
        ) WITHOUT ROWID""",
        """CREATE TABLE salts (
            site TEXT NOT NULL,
            local_date TEXT NOT NULL,
            salt BLOB NOT NULL,
            PRIMARY KEY (site, local_date)
        ) WITHOUT ROWID""",
    ),
    ("CREATE TABLE mesh_secrets (one INTEGER PRIMARY KEY CHECK (one = 1), secret BLOB NOT NULL)",),
    # The column `rules` holds all versions of a site's exclusion rules, as JSON. Before the first change, `rules` is
    # NULL.
    ("ALTER TABLE sites ADD COLUMN rules TEXT",),
    (
        """CREATE TABLE policy_changes (
            site TEXT NOT NULL,
            from_day INTEGER NOT NULL,
            campaign_splits INTEGER NOT NULL,
            split_at_local_midnight INTEGER NOT NULL,
            PRIMARY KEY (site, from_day)
        ) WITHOUT ROWID""",
        "CREATE INDEX policy_changes_by_day ON policy_changes (from_day)",
    ),
    # The index on `salts` is needed because old salts of all sites are destroyed by date.
    ("CREATE INDEX salts_by_date ON salts (local_date)",),
    # Comma-separated roles with which the key was created; empty for keys of earlier versions.
    ("ALTER TABLE ingest_keys ADD COLUMN roles TEXT NOT NULL DEFAULT ''",),
    (
        # The quotas of merchants, sites and keys, by full name. NULL means the default.
        """CREATE TABLE quotas (
            name TEXT PRIMARY KEY,
            hits_s INTEGER,
            bytes_s INTEGER,
            report_units_min INTEGER
        ) WITHOUT ROWID""",
    ),
    (
        # A row with `deleted_at` stays, so that the name is never used again. The merchants of sites and keys from
        # earlier versions get a record; their creation time is that of their first site or key. The keys of operators
        # and bootstrap tokens belong to no merchant.
        """CREATE TABLE merchants (
            name TEXT PRIMARY KEY,
            display_name TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            deleted_at INTEGER
        ) WITHOUT ROWID""",
        """INSERT INTO merchants SELECT merchant, '', min(created_at), min(created_at), 0, NULL FROM (
            SELECT merchant, created_at FROM sites UNION ALL SELECT merchant, created_at FROM ingest_keys
        ) WHERE merchant LIKE 'merchants/%' GROUP BY merchant""",
        # Own hosts and allowed origins are JSON lists. `revision` counts the changes; NULL means that the site never
        # changed.
        "ALTER TABLE sites ADD COLUMN display_name TEXT",
        "ALTER TABLE sites ADD COLUMN own_hosts TEXT",
        "ALTER TABLE sites ADD COLUMN allowed_origins TEXT",
        "ALTER TABLE sites ADD COLUMN revision INTEGER",
        "ALTER TABLE sites ADD COLUMN updated_at INTEGER",
        "ALTER TABLE sites ADD COLUMN deleted_at INTEGER",
    ),
    # Keys of earlier versions have no prefix, no update time and version 0.
    tuple(
        f"ALTER TABLE ingest_keys ADD COLUMN {column}"
        for column in (
            "expires_at INTEGER",
            "display_name TEXT NOT NULL DEFAULT ''",
            "prefix TEXT NOT NULL DEFAULT ''",
            "updated_at INTEGER",
            "rotated_from TEXT",
            "version INTEGER NOT NULL DEFAULT 0",
        )
    ),
    # The pending change of a quota: from `pending_from` (UTC ms), the other limits apply.
    (
        "ALTER TABLE quotas ADD COLUMN pending_from INTEGER",
        "ALTER TABLE quotas ADD COLUMN pending_hits_s INTEGER",
        "ALTER TABLE quotas ADD COLUMN pending_bytes_s INTEGER",
        "ALTER TABLE quotas ADD COLUMN pending_report_units_min INTEGER",
        "ALTER TABLE quotas ADD COLUMN version INTEGER NOT NULL DEFAULT 0",
    ),
)
