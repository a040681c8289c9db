"""The numbers of docs/rules.md, each once: code that needs one imports it from here."""

from __future__ import annotations

from typing import Final

MAX_SKEW_MS: Final = 5 * 60_000
"""Rule T2: an event time further ahead of collect time is clamped to it."""
MAX_AHEAD_MS: Final = 24 * 3_600_000
"""Rule T2: a hit whose event time is further ahead is refused."""
MAX_AGE_MS: Final = 72 * 3_600_000
"""Rule T3: an older hit is refused when it comes with a browser key."""
MAX_SERVER_AGE_MS: Final = 397 * 86_400_000
"""Rule T3: an older hit is refused when it comes with a server key; the longest 13 months there are."""
LATENESS_MS: Final = 3_600_000
"""Rule T4, allowed lateness: a hit that the log takes later than this after its event time is late."""
CLOSED_AFTER_MS: Final = 26 * 3_600_000
"""Rule T4: a UTC day closes so long after its end, the cap of a visit (24 h), the allowed lateness and a margin."""
AHEAD_TOLERANCE_MS: Final = 15 * 60_000
"""Rule L1: log time may be so far ahead of the present before an operator is told; a wrong clock makes 10 min."""
MAX_LEAD_MS: Final = 10 * 60_000
"""Rule L1: log time is at most so far beyond the latest collect time of a record."""
COPY_WINDOW_MS: Final = 7_200_000
"""Rule D2: copies are at most so far apart in event time."""
COPY_LOG_MS: Final = 5_400_000
"""Rule D2: the stream finds copies that arrive within so much log time after the original."""
VISIT_GAP_MS: Final = 1_800_000
"""Rule S1: a visit ends after so long without a hit, unless the policy of the site says otherwise."""
VISIT_CAP_MS: Final = 86_400_000
"""Rule S5: a visit lasts at most so long, unless the policy of the site says otherwise."""
MAX_ABS_MICROS: Final = 10**18
"""Rule M1: the largest amount of money, 10^12 units. Sums are wider than an int64 (hitmesh.model.amounts)."""
UNKNOWN_KEYS_S: Final = 200
"""Look-ups a second of ingest keys that do not exist, for each process."""
