"""Test the progress line that long commands print without a terminal."""

from __future__ import annotations

import pytest

from hitmesh.tools.cli.progress import Progress


def test_progress_shows_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 0.0, 0.0, 0.0, 12.0, 12.0, 12.0])
    progress = Progress(on_terminal=False, clock_s=lambda: next(times), unit="site-days")
    progress.phase("r1", 400)
    progress.reached(10)
    progress.reached(130)
    assert capsys.readouterr().err == "r1: 130 of 400, 10.0 site-days/s, 27 s left\n"
