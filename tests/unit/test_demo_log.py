"""Test the access log that `make demo` generates if no real log exists."""

from __future__ import annotations

from random import Random

from dev.demo import SEED, VISITS, access_log_lines
from hitmesh.tools.importers.access_log import LogOptions, read
from hitmesh.tools.importers.lines import SkipReason, Tally


def test_generated_log_is_the_same_every_time_and_its_pages_are_hits_of_four_days() -> None:
    lines = [line.encode() for line in access_log_lines(Random(SEED))]
    assert lines == [line.encode() for line in access_log_lines(Random(SEED))]
    tally = Tally()
    hits = list(read(lines, tally, LogOptions()))
    assert len(hits) >= VISITS
    assert set(tally.skipped) == {SkipReason.STATIC}
    assert {hit.true_time.ToJsonString()[:10] for hit in hits} == {f"2015-05-{day}" for day in (17, 18, 19, 20)}
