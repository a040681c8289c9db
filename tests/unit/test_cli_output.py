"""Test the output of commands: numbers, captions and plots."""

from __future__ import annotations

import re

import pytest

from hitmesh.api.control.v1 import reprocessing_pb2
from hitmesh.tools.cli.erase_output import print_receipt
from hitmesh.tools.cli.output import visible
from hitmesh.tools.cli.plot import bars, columns
from hitmesh.tools.cli.report_table import caption, number_texts
from hitmesh.tools.cli.reprocess_diff import plain_number
from hitmesh.tools.cli.reprocess_output import print_reprocessing


def test_numbers_of_a_column_have_equally_many_decimals() -> None:
    assert number_texts([59442.63, 100.5, 0]) == ["59,442.63", "100.50", "0.00"]
    assert number_texts([0.408893, None, 1]) == ["0.4089", "–", "1.0000"]
    assert number_texts([1234567, 0]) == ["1,234,567", "0"]
    assert number_texts([]) == []


def test_caption_lists_only_what_the_meta_contains() -> None:
    assert caption({}) == ""
    assert caption({"time_zone": "UTC", "warnings": ["w"], "filter": "a==b"}) == "UTC · filter a==b · w"
    assert caption({"missing_currencies": ["EUR", "JPY"]}) == "money in EUR, JPY left out"
    assert "left out" not in caption({"excluded_hits": 5, "include_excluded": True})
    provisional = {"cell_state": "PROVISIONAL", "provisional_from": "2026-01-01T00:00:00.000Z"}
    assert caption(provisional) == "provisional from 2026-01-01T00:00:00.000Z"
    assert caption(provisional | {"cell_state": "SETTLED"}) == ""


def test_control_characters_are_shown_as_escapes() -> None:
    assert visible("a\x1b[2J\n\u202eb") == r"a\x1b[2J\n\u202eb"
    assert visible("日本 café 👩\u200d👧 \\n") == "日本 café 👩\u200d👧 \\n"


def test_columns_show_the_greatest_first_and_last_label() -> None:
    lines = columns("visits", ["mon", "tue", "wed"], [0, 5, 10], width=40)
    assert lines[0] == "visits"
    assert lines[1].startswith("10 ┤")
    assert lines[1].rstrip().endswith("█")
    assert lines[-1].split() == ["mon", "wed"]
    assert len(lines) == 12


def test_more_values_than_columns_share_them() -> None:
    lines = columns("hits", [str(n) for n in range(1_000)], [float(n) for n in range(1_000)], width=60)
    assert "the maximum of" in lines[0]
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [3.5]])
def test_plots_of_nothing_and_of_one_value_are_drawn(values: list[float]) -> None:
    labels = ["x"] * len(values)
    assert columns("m", labels, values, width=20)[0] == "m"
    assert len(bars("m", labels, values, width=20)) == len(values) + 1


def test_bars_fit_the_width_and_the_last_line_counts_omitted_bars() -> None:
    lines = bars("visits", [f"/{'p' * 80}{n}" for n in range(50)], [float(n) for n in range(50)], width=80)
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "… and 10 more"
    assert set(bars("m", ["a"], [1], width=30, blocks=False)[1]) <= set("a# 1")


def test_a_receipt_of_one_piece_is_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    receipt = reprocessing_pb2.ErasureReceipt(
        hits=1, raw_records=1, log_records=1, claims=1, refusals=1, carries=1, site_days=1, generations=1
    )
    print_receipt(receipt)
    shown = capsys.readouterr().out
    assert "1 hit blanked, 1 record rewritten" in shown
    assert not re.search(r"\b1 \w+( \w+)?s\b(?! rewritten)", shown.replace("on orders and refunds", "")), shown


@pytest.mark.parametrize(
    ("state", "is_shown"), [("PLANNED", True), ("RUNNING", True), ("DIFF_READY", False), ("PUBLISHED", False)]
)
def test_an_estimate_is_shown_only_until_the_difference_can_be_read(
    state: str, is_shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reprocessing_pb2.Reprocessing(
        name="reprocessings/r1", state=reprocessing_pb2.ReprocessingState.Value(f"REPROCESSING_STATE_{state}")
    )
    for day in (found.first_utc_date, found.last_utc_date):
        day.year, day.month, day.day = 2015, 5, 15
    print_reprocessing(found, "table")
    assert ("takes" in capsys.readouterr().out) is is_shown


def test_an_erasure_keeps_no_replaced_rows(capsys: pytest.CaptureFixture[str]) -> None:
    retire = reprocessing_pb2.PlanStage(retire=reprocessing_pb2.RetireStage(keep_days=0))
    found = reprocessing_pb2.Reprocessing(kind=reprocessing_pb2.REPROCESSING_KIND_ERASE, stages=[retire])
    for day in (found.first_utc_date, found.last_utc_date):
        day.year, day.month, day.day = 2015, 5, 15
    print_reprocessing(found, "table")
    assert "remove the replaced rows at once" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "text"), [(0.5, "0.5"), (1e6, "1,000,000"), (1e-7, "0.0000001"), (0.0, "0")])
def test_a_limit_has_no_exponent(limit: float, text: str) -> None:
    assert plain_number(limit) == text
