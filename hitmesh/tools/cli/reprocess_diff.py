"""`hitmesh reprocess diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.options import connect_as_operator, examples, operator_options, output_option, site_option
from hitmesh.tools.cli.output import print_json
from hitmesh.tools.cli.reprocess import id_argument

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2


def per_cent(_ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a percentage written as `0.5%` or `0.5`."""
    if value is None:
        return None
    try:
        limit = float(value.strip().removesuffix("%"))
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise click.BadParameter(f"{value!r} is not a percentage of 0 or more: write for example 0.5%", param=param)
    return limit


@click.command(
    short_help="Compare the recomputed days with the reports.",
    epilog=examples(
        "hitmesh reprocess diff 20261129-x7k2p4",
        "hitmesh reprocess diff 20261129-x7k2p4 --dimension channel --order-by visits",
        "hitmesh reprocess diff 20261129-x7k2p4 --cells --since 2026-11-01 --until 2026-11-01",
        "hitmesh reprocess diff 20261129-x7k2p4 --fail-above 0.5% -o json",
    )
    + "\n\n\b\nExit codes:\n  0    compared\n  7    a metric changed by more than --fail-above, or raw hits "
    "are missing",
)
@id_argument
@click.option(
    "--fail-above",
    callback=per_cent,
    metavar="P%",
    help="Exit with 7 if the absolute changes of a metric, added up over all site-days, are more than P per cent of "
    "the metric's old sum. Also exit with 7 if the ledger has fewer accepted hits than before, if a publication "
    "changes site-days that were not compared, or if a repair could not restore all raw hits.",
)
@site_option(required=False)
@click.option(
    "--since", callback=date_text, metavar="DAY", help="First UTC day to compare. Default: the plan's first day."
)
@click.option(
    "--until",
    callback=date_text,
    metavar="DAY",
    help="Last UTC day to compare, inclusive. Default: the plan's last day.",
)
@click.option(
    "--dimension",
    default="",
    metavar="D",
    help="Show the values of a dimension, for example channel, that changed most.",
)
@click.option("--cells", is_flag=True, help="Show the cells (15 minutes of a site) that changed most.")
@click.option(
    "--order-by",
    default="",
    metavar="METRIC",
    help="Metric that ranks sites, values and cells. Default: the metric that changed most in per cent.",
)
@click.option(
    "--top",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    metavar="N",
    help="Maximum number of sites, values and cells to show.",
)
@output_option("table", "json")
@operator_options
def diff(
    *,
    id_: str,
    fail_above: float | None,
    site: str | None,
    since: str | None,
    until: str | None,
    dimension: str,
    cells: bool,
    order_by: str,
    top: int,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Compare the UTC days that ID recomputed with the same days before the reprocessing.

    The command lists each changed metric, day and site, the ledger before and after, and the known reasons for the
    differences. If nothing changed, the lists are empty. The JSON output is a single object; money is in micros and
    durations in ms.
    """
    first, last = utc_dates(since, until)
    with connect_as_operator(endpoint, home) as mesh:
        from hitmesh.api.control.v1 import reprocessing_pb2 as pb
        from hitmesh.client.reprocessing import full_name, whole_diff
        from hitmesh.tools.cli.reprocess_tables import diff_fields, print_diff

        request = pb.GetReprocessingDiffRequest(
            name=full_name(id_),
            site=site,
            first_utc_date=first,
            last_utc_date=last,
            dimension=dimension or None,
            cells=cells,
            order_by=order_by or None,
            top=top,
        )
        found = whole_diff(mesh, request)
    if output == "json":
        print_json(diff_fields(found, dimension, cells=cells))
    else:
        print_diff(found, dimension, cells=cells)
    if fail_above is not None:
        _refuse_lost_hits(found)
        _fail_above(found, fail_above)
        _refuse_unseen_days(found)
        _refuse_what_is_lost(found)


def _refuse_lost_hits(found: reprocessing_pb2.GetReprocessingDiffResponse) -> None:
    """Raise if the new ledger has fewer accepted hits than the old ledger, in total or on a UTC day."""
    from hitmesh.model.dates import date_text_of

    ledgers = [("in total", found.ledger_before, found.ledger_after)]
    ledgers += [(date_text_of(day.utc_date), day.ledger_before, day.ledger_after) for day in found.days]
    for where, of_before, of_after in ledgers:
        before, after = of_before.accepted.hits, of_after.accepted.hits
        if after < before:
            raise CommandFailed(
                Exit.PROBLEMS_FOUND,
                f"the old ledger has {before:,} accepted hits, but the new ledger has only {after:,} ({where}), so "
                "raw hits are missing: do not publish; hitmesh reprocess check shows the plans that restore these hits",
                reason=LocalReason.DIFF_TOO_LARGE,
            )


def _refuse_unseen_days(found: reprocessing_pb2.GetReprocessingDiffResponse) -> None:
    """Raise if a publication would change site-days that are not part of the comparison."""
    from hitmesh.tools.cli.reprocess_tables import disturbed_text

    if found.disturbed_site_days:
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"{disturbed_text(found)}; plan these days too, or publish without --fail-above",
            reason=LocalReason.DIFF_TOO_LARGE,
        )


def _refuse_what_is_lost(found: reprocessing_pb2.GetReprocessingDiffResponse) -> None:
    """Raise if a repair could not restore all raw hits."""
    from hitmesh.tools.cli.reprocess_output import lost_text

    if lost := lost_text(found.reprocessing.raw_repair):
        raise CommandFailed(Exit.PROBLEMS_FOUND, lost, reason=LocalReason.HISTORY_DAMAGED)


def _fail_above(found: reprocessing_pb2.GetReprocessingDiffResponse, limit: float) -> None:
    changed = [
        f"{each.metric} by {each.absolute_percent:,.2f} %"
        if each.HasField("absolute_percent")
        else f"{each.metric} from 0"
        for each in found.totals
        if not each.HasField("absolute_percent") or each.absolute_percent > limit
    ]
    if changed:
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"metrics changed by more than {plain_number(limit)} %: {', '.join(changed)}; look at the difference "
            "before you publish",
            reason=LocalReason.DIFF_TOO_LARGE,
        )


def plain_number(limit: float) -> str:
    """Return a number without an exponent and without zeros at its end."""
    text = f"{limit:,.15f}" if limit < 1 else f"{limit:,.6f}"
    return text.rstrip("0").removesuffix(".")
