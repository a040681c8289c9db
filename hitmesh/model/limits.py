"""The numbers of docs/rules.md, each defined once and imported from here; and the limit of key look-ups."""

from __future__ import annotations

from typing import Final

CELL_MS: Final = 900_000
"""The length of a cell, the shortest bucket of time."""
MAX_SKEW_MS: Final = 5 * 60_000
"""Rule T2: an event time further ahead of collect time is clamped to collect time."""
MAX_AHEAD_MS: Final = 24 * 3_600_000
"""Rule T2: a hit whose event time is further ahead is refused."""
MAX_AGE_MS: Final = 72 * 3_600_000
"""Rule T3: an older hit with a browser key is refused."""
MAX_SERVER_AGE_MS: Final = 397 * 86_400_000
"""Rule T3: an older hit with a server key is refused; the longest possible 13 months."""
LATENESS_MS: Final = 3_600_000
"""Rule T4, allowed lateness: a hit is late when its log time is further than this after its event time."""
CLOSED_AFTER_MS: Final = 26 * 3_600_000
"""Rule T4: a UTC day closes this long after its end: the visit cap (24 h), the allowed lateness and a margin."""
IPV4_PREFIX_BITS: Final = 24
"""Rule I1: bits of an IPv4 address that are kept."""
IPV6_PREFIX_BITS: Final = 48
"""Rule I1: bits of an IPv6 address that are kept."""
HEARTBEAT_S: Final = 10.0
"""Rule L1: seconds between heartbeats in every partition, unless the collector's settings differ."""
DELAYED_AFTER_MS: Final = 15 * 60_000
"""Rule L2: an answer that is further behind is DELAYED."""
DEGRADED_AFTER_MS: Final = 60 * 60_000
"""Rule L2: an answer that is further behind is DEGRADED."""
AHEAD_TOLERANCE_MS: Final = DELAYED_AFTER_MS
"""Rule L2: lead of log time over the current time beyond which operators are warned; only a wrong clock makes 10
min."""
DERIVED_FROM_MS: Final = 24 * 3_600_000
"""Rule L4: without a carry, open visits are derived from raw hits of this long before the day."""
FOLLOWED_MS: Final = 24 * 3_600_000
"""Rule L4: settlement follows an open visit at most this long past the day's end."""
MAX_LEAD_MS: Final = 10 * 60_000
"""Rule L1: maximum lead of log time over the latest collect time in a record."""
COPY_WINDOW_MS: Final = 7_200_000
"""Rule D2: maximum distance in event time between two copies."""
COPY_LOG_MS: Final = 5_400_000
"""Rule D2: the stream finds a copy up to this much log time after the original."""
VISIT_GAP_MS: Final = 1_800_000
"""Rule S1: a visit ends after this long without a hit, unless the site's policy differs."""
VISIT_CAP_MS: Final = 86_400_000
"""Rule S5: maximum duration of a visit, unless the site's policy differs."""
MAX_VISIT_HITS: Final = 5_000
"""Rule S5: a later hit starts a new visit, unless the site's policy differs."""
KEPT_HITS_OF_VISITOR: Final = 5_000
"""Rule S9: with more kept hits of a visitor, later hits out of order wait for settlement."""
LG_K_CELL: Final = 12
"""Metric `visitors`: lg k of the theta sketch of a cell."""
LG_K_UNION: Final = 14
"""Metric `visitors`: lg k of a union of sketches."""
MAX_ABS_MICROS: Final = 10**18
"""Rule M1: the largest amount of money, 10^12 units. Sums are wider than an int64 (hitmesh.model.amounts)."""
UNKNOWN_KEYS_S: Final = 200
"""Maximum look-ups per second of nonexistent ingest keys, for each process."""
