"""The numbers of docs/rules.md, each defined once and imported from here."""

from __future__ import annotations

from typing import Final

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
AHEAD_TOLERANCE_MS: Final = 15 * 60_000
"""Rule L1: log time further ahead of the present than this warns the operators; a wrong clock makes 10 min."""
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
MAX_ABS_MICROS: Final = 10**18
"""Rule M1: the largest amount of money, 10^12 units. Sums are wider than an int64 (hitmesh.model.amounts)."""
UNKNOWN_KEYS_S: Final = 200
"""Maximum look-ups per second of nonexistent ingest keys, for each process."""
