"""Test log lines about refused calls.

The number of log lines per time is limited. Calls beyond the limit are summed up in a single later line.
"""

from __future__ import annotations

import structlog

from hitmesh.runtime.logs import Complaints


def test_lines_that_were_held_back_are_written_after_the_pause_and_at_the_end() -> None:
    now_s = [0.0]
    complaints = Complaints("calls_refused", 10.0, lambda: now_s[0])
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            complaints.add("QUOTA", cause="wait")
        now_s[0] = 9.9
        complaints.write_pending()
        assert [line["calls"] for line in logged] == [1]
        now_s[0] = 10.0
        complaints.write_pending()
        complaints.write_pending(held_back=True)
        assert [line["calls"] for line in logged] == [1, 2]
        complaints.add("QUOTA", cause="wait")
        complaints.write_pending(held_back=True)
    assert [(line["reason"], line["cause"], line["calls"]) for line in logged] == [
        ("QUOTA", "wait", calls) for calls in (1, 2, 1)
    ]
