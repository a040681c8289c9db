"""The constants of docs/rules.md, defined only here, and the rate limit for look-ups of unknown keys."""

from __future__ import annotations

from typing import Final

CELL_MS: Final = 900_000
"""Length of a cell, the shortest time bucket: 15 minutes."""
MAX_SKEW_MS: Final = 5 * 60_000
"""Rule T2: an event time that is ahead of collect time by more than this value is clamped to collect time."""
MAX_AHEAD_MS: Final = 24 * 3_600_000
"""Rule T2: a hit whose event time is ahead of collect time by more than this value is refused."""
MAX_AGE_MS: Final = 72 * 3_600_000
"""Rule T3: a hit with a browser key is refused if it is older than this value."""
MAX_SERVER_AGE_MS: Final = 397 * 86_400_000
"""Rule T3: a hit with a server key is refused if it is older than this value. 13 months have at most 397 days."""
LATENESS_MS: Final = 3_600_000
"""Rule T4, allowed lateness: a hit is late if log time - event time exceeds this value."""
CLOSED_AFTER_MS: Final = 26 * 3_600_000
"""Rule T4: a UTC day closes this time after its end.

CLOSED_AFTER_MS is the sum of 24 h for the longest visit, 1 h for the allowed lateness, and a margin of 1 h.
"""
IPV4_PREFIX_BITS: Final = 24
"""Rule I1: number of leading bits that are kept of an IPv4 address."""
IPV6_PREFIX_BITS: Final = 48
"""Rule I1: number of leading bits that are kept of an IPv6 address."""
HEARTBEAT_S: Final = 10.0
"""Rule L1: default interval between heartbeats in every partition; a setting of the collector."""
DELAYED_AFTER_MS: Final = 15 * 60_000
"""Rule L2: an answer is DELAYED if its lag exceeds this value."""
STALLED_AFTER_MS: Final = 60_000
"""Rule L2: an answer names a partition as stalled if the stream's progress there is older. Heartbeats advance an idle
partition every 10 s; windows, flushes and ingestion add up to 30 s."""
DEGRADED_AFTER_MS: Final = 60 * 60_000
"""Rule L2: an answer is DEGRADED if its lag exceeds this value."""
AHEAD_TOLERANCE_MS: Final = DELAYED_AFTER_MS
"""Rule L2: operators are warned if log time is ahead of the present by more than this value.

If only the log's clock is wrong, log time is at most MAX_LEAD_MS ahead of the present (rule L1)."""
DERIVED_FROM_MS: Final = 24 * 3_600_000
"""Rule L4: if no carry exists, settlement derives open visits from the raw hits in this time span before the day."""
FOLLOWED_MS: Final = 24 * 3_600_000
"""Rule L4: if a visit is open at a day's end, settlement follows the visit at most this long after the day's end."""
MAX_LEAD_MS: Final = 10 * 60_000
"""Rule L1: maximum lead of a record's log time over the latest collect time in the record."""
COPY_WINDOW_MS: Final = 7_200_000
"""Rule D2: maximum difference in event time between two copies of a hit."""
COPY_LOG_MS: Final = 5_400_000
"""Rule D2: the stream finds each copy of a hit that arrives at most this much log time after the original."""
VISIT_GAP_MS: Final = 1_800_000
"""Rule S1: by default, a hit starts a new visit if the gap before the hit exceeds this value."""
VISIT_CAP_MS: Final = 86_400_000
"""Rule S5: default maximum duration of a visit."""
MAX_VISIT_HITS: Final = 5_000
"""Rule S5: by default, a visit has at most this many hits, and the next hit starts a new visit."""
KEPT_HITS_OF_VISITOR: Final = 5_000
"""Rule S9: if the stream keeps this many hits of a visitor, further out-of-order hits wait for settlement."""
LG_K_CELL: Final = 12
"""Metric `visitors`: lg k for a cell's theta sketch, which is exact or a sample of at least 2^12 hashes."""
LG_K_UNION: Final = 14
"""Metric `visitors`: lg k for a union of sketches, which keeps at most 2^14 hashes."""
MAX_ABS_MICROS: Final = 10**18
"""Rule M1: largest absolute amount in micros, 10^12 currency units. Sums may exceed int64 (hitmesh.model.amounts)."""
UNKNOWN_KEYS_S: Final = 200
"""Rate limit in each process: maximum look-ups per second for unknown ingest keys."""
MAX_VISITOR_ID_BYTES: Final = 128
"""Rule I1: maximum size, in bytes, for a visitor id and for a user id."""
