"""Shows the difference that a reprocessing found, as tables with a plot or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.dates import date_text_of
from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.output import echo, note, print_table
from hitmesh.tools.cli.plot import MAX_BARS, bars, columns
from hitmesh.tools.cli.report_table import EMPTY, has_blocks, plot_width
from hitmesh.tools.cli.reprocess_output import (
    count_of,
    lost_text,
    raw_repair_fields,
    title_of,
    warning_fields,
    warning_text,
)
from hitmesh.tools.cli.reprocess_reasons import print_reasons, reason_fields

MAX_DAY_ROWS: Final = 60
_MICROS: Final = 1_000_000
_UNIT_TEXTS: Final = {"micros": " (money)", "ms": " (ms)"}
# Extra text for a sum that reports use to compute a metric, but do not show.
_PART_TEXTS: Final = {"visit_views": " (in views_per_visit)"}
_LEDGER: Final = ("accepted", "counted", "duplicate", "excluded", "erased")
_SUMS: Final = ("old", "new", "difference", "per cent")


def print_diff(found: pb.GetReprocessingDiffResponse, dimension: str, *, cells: bool = False) -> None:
    """Print the difference that a reprocessing made, for a person."""
    echo(title_of(found.reprocessing))
    echo(f"{found.changed_site_days:,} of {count_of(found.site_days)} changed\n")
    if found.totals:
        print_sums(("metric",), [((), found.totals)])
    ledgers = (("before", found.ledger_before), ("after", found.ledger_after))
    print_table(("ledger", *_LEDGER), [(name, *_ledger_cells(ledger)) for name, ledger in ledgers], right_from=1)
    echo("".join(f"\n{warning_text(each)}\n" for each in found.warnings))
    if found.changed_site_days:  # if no site-day changed, there are no reasons and no days to print
        print_reasons(found)
        _print_days(found.days)
    if found.changed_sites > 1:
        print_sums(("site", "metric"), [((short_site_name(each.site),), each.metrics) for each in found.sites])
        _note_more(found.changed_sites - len(found.sites), "changed sites", "--top")
    if dimension:
        print_sums((dimension, "metric"), [((each.value,), each.metrics) for each in found.values])
        _note_more(found.changed_values - len(found.values), "changed values", "--top")
    if cells:
        print_sums(("site", "cell (UTC)", "metric"), [(_cell_keys(each), each.metrics) for each in found.cells])
        _note_more(found.changed_cells - len(found.cells), "changed cells", "--top")
    if found.settled_again_site_days:
        note(f"left out: the rows of {count_of(found.settled_again_site_days)} that the settler has settled again")
    if found.site_days > 1 and any(each.metric == "visitors" for each in found.totals):
        note("visitors are added up over UTC days and sites; hitmesh query counts a visitor of several days once")
    if found.lost_site_days:
        note(
            f"left out: {count_of(found.lost_site_days)}, because the metric store lost the old or the new rows; if "
            "the old rows are lost, a publication replaces them"
        )
    if found.disturbed_site_days:
        note(disturbed_text(found))
    if lost := lost_text(found.reprocessing.raw_repair):
        note(lost)
    _plot(found)


def disturbed_text(found: pb.GetReprocessingDiffResponse) -> str:
    """Return a text about site-days that were not compared, but are settled again after the publication."""
    named = ", ".join(f"{short_site_name(each.site)} {date_text_of(each.utc_date)}" for each in found.disturbed[:3])
    more = f", {found.disturbed_site_days - 3:,} more: give -o json" if found.disturbed_site_days > 3 else ""
    return (
        f"not compared: {count_of(found.disturbed_site_days)} that the settler settles again after the publication, "
        f"because orders, copies or visits depend on the compared days: {named}{more}"
    )


def diff_fields(found: pb.GetReprocessingDiffResponse, dimension: str, *, cells: bool = False) -> dict[str, Any]:
    """Return the JSON of the difference; metrics are an object, keyed by metric id."""
    fields: dict[str, Any] = {
        "id": found.reprocessing.name.partition("/")[2],
        "state": pb.ReprocessingState.Name(found.reprocessing.state).removeprefix("REPROCESSING_STATE_"),
        "site_days": found.site_days,
        "changed_site_days": found.changed_site_days,
        "totals": metric_fields(found.totals),
        "ledger": _ledger_fields(found),
        "reasons": reason_fields(found.reasons) if found.HasField("reasons") else None,
        "warnings": warning_fields(found.warnings),
        "raw_repair": raw_repair_fields(found.reprocessing),
        "disturbed_site_days": found.disturbed_site_days,
        "disturbed": [
            {"site": short_site_name(each.site), "utc_date": date_text_of(each.utc_date)} for each in found.disturbed
        ],
        "days": [
            {
                "utc_date": date_text_of(day.utc_date),
                "site_days": day.site_days,
                "changed_site_days": day.changed_site_days,
                "metrics": metric_fields(day.metrics),
                "ledger": _ledger_fields(day),
                "reasons": reason_fields(day.reasons) if day.HasField("reasons") else None,
            }
            for day in found.days
        ],
        "sites_ranked_by": found.sites_ranked_by or None,
        "changed_sites": found.changed_sites,
        "sites": [
            {
                "site": short_site_name(each.site),
                "changed_site_days": each.changed_site_days,
                "metrics": metric_fields(each.metrics),
            }
            for each in found.sites
        ],
    }
    if dimension:
        fields |= {
            "dimension": dimension,
            "values_ranked_by": found.values_ranked_by or None,
            "changed_values": found.changed_values,
            "values": [{"value": each.value, "metrics": metric_fields(each.metrics)} for each in found.values],
        }
    if cells:
        fields |= {
            "cells_ranked_by": found.cells_ranked_by or None,
            "changed_cells": found.changed_cells,
            "cells": [
                {
                    "site": short_site_name(each.site),
                    "start": each.start_time.ToJsonString(),
                    "metrics": metric_fields(each.metrics),
                }
                for each in found.cells
            ],
        }
    if dimension or cells:
        fields["settled_again_site_days"] = found.settled_again_site_days
        fields["lost_site_days"] = found.lost_site_days
    return fields


def _cell_keys(cell: pb.CellDifference) -> tuple[str, str]:
    return short_site_name(cell.site), f"{cell.start_time.ToDatetime():%Y-%m-%d %H:%M}"


def _print_days(days: Sequence[pb.DayDifference]) -> None:
    """Print a row for each changed metric of the first days, up to MAX_DAY_ROWS rows."""
    shown: list[tuple[tuple[str, ...], Sequence[pb.MetricDifference]]] = []
    rows = 0
    for day in days:
        rows += max(1, len(day.metrics))
        if shown and rows > MAX_DAY_ROWS:
            break
        shown.append(((date_text_of(day.utc_date), f"{day.changed_site_days:,}"), day.metrics))
    print_sums(("UTC day", "changed site-days", "metric"), shown)
    _note_more(len(days) - len(shown), "changed days", "--since, or -o json")


def print_sums(headers: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], Sequence[pb.MetricDifference]]]) -> None:
    """Print a row per metric. Of consecutive rows with the same keys, only the first row shows the keys."""
    cells: list[tuple[str, ...]] = []
    for keys, metrics in rows:
        blank = ("",) * len(keys)
        cells += [(*(blank if at else keys), *_sum_cells(metric)) for at, metric in enumerate(metrics)]
        if not metrics:
            cells.append((*keys, "ledger only", *[EMPTY] * len(_SUMS)))
    print_table((*headers, *_SUMS), cells, right_from=len(headers))
    echo()


def _sum_cells(metric: pb.MetricDifference) -> tuple[str, ...]:
    per_cent = f"{metric.percent:+,.2f} %" if metric.HasField("percent") else EMPTY
    return (
        metric.metric + _PART_TEXTS.get(metric.metric, "") + _UNIT_TEXTS.get(metric.unit, ""),
        _number(metric.old, metric.unit, is_set=metric.HasField("old")),
        _number(metric.new, metric.unit, is_set=metric.HasField("new")),
        _number(metric.difference, metric.unit, is_set=metric.HasField("difference"), sign="+"),
        per_cent,
    )


def _number(value: int, unit: str, *, is_set: bool, sign: str = "") -> str:
    if not is_set:
        return EMPTY
    return f"{value / _MICROS:{sign},.2f}" if unit == "micros" else f"{value:{sign},}"


def _ledger_cells(ledger: pb.LedgerOutcome) -> tuple[str, ...]:
    counts = (ledger.accepted.hits, ledger.counted, ledger.duplicate, ledger.excluded, ledger.erased)
    return tuple(f"{count:,}" for count in counts)


def _note_more(count: int, of_what: str, option: str) -> None:
    if count > 0:
        note(f"{count:,} more {of_what}: give {option}")


def _plot(found: pb.GetReprocessingDiffResponse) -> None:
    """Plot the absolute difference of the most changed metric by UTC day. A single day gets no plot."""
    metric = found.sites_ranked_by
    values = [sum(each.absolute_difference for each in day.metrics if each.metric == metric) for day in found.days]
    if len(values) < 2 or not any(values):
        return
    labels = [date_text_of(day.utc_date) for day in found.days]
    draw = bars if len(values) <= MAX_BARS else columns
    title = f"{metric}: |new − old| by UTC day"
    echo("\n".join(draw(title, labels, [float(value) for value in values], width=plot_width(), blocks=has_blocks())))


def metric_fields(metrics: Iterable[pb.MetricDifference]) -> dict[str, dict[str, Any]]:
    """Return the JSON of metrics, keyed by metric id."""
    names = ("old", "new", "difference", "percent", "absolute_difference", "absolute_percent")
    return {
        each.metric: {
            "unit": each.unit,
            **{name: getattr(each, name) if each.HasField(name) else None for name in names},  # type: ignore[arg-type]  # names of fields
        }
        for each in metrics
    }


def _ledger_fields(found: pb.GetReprocessingDiffResponse | pb.DayDifference) -> dict[str, dict[str, int]]:
    return {"before": _outcome_fields(found.ledger_before), "after": _outcome_fields(found.ledger_after)}


def _outcome_fields(ledger: pb.LedgerOutcome) -> dict[str, int]:
    return {
        "accepted": ledger.accepted.hits,
        "counted": ledger.counted,
        "duplicate": ledger.duplicate,
        "excluded": ledger.excluded,
        "erased": ledger.erased,
    }
