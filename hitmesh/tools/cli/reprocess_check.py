"""`hitmesh reprocess check`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.exits import NOTHING_FOUND, CommandFailed, Exit
from hitmesh.tools.cli.options import connect_as_operator, examples, operator_options, output_option
from hitmesh.tools.cli.output import note
from hitmesh.tools.cli.reprocess_plan import full_names_of_sites

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2
    from hitmesh.tools.cli.reprocess_check_output import Checked

_ALL = "merchants/-/sites/-"


@click.command(
    short_help="Find days whose stored values do not add up.",
    epilog=examples(
        "hitmesh reprocess check",
        "hitmesh reprocess check --site demo/example --since 2026-11-01 --until 2026-11-07",
        "hitmesh reprocess check --site demo/example -o json",
    )
    + "\n\n\b\nExit codes:\n  0    every checked day adds up\n  7    a day does not add up: see the plans\n  "
    "69   no settled day is selected",
)
@click.option(
    "--site",
    "sites",
    multiple=True,
    callback=full_names_of_sites,
    metavar="MERCHANT/SITE",
    help="Site, for example demo/example. Can be given several times. Default: all sites.",
)
@click.option(
    "--since", callback=date_text, metavar="DAY", help="First UTC day to check. Default: the first settled day."
)
@click.option(
    "--until",
    callback=date_text,
    metavar="DAY",
    help="Last UTC day to check, inclusive. Default: the last settled day.",
)
@output_option("table", "json")
@operator_options
def check(
    *,
    sites: tuple[str, ...],
    since: str | None,
    until: str | None,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Compare the stored values of each settled UTC day with the ledger, and across stores. Changes nothing.

    The command compares the raw hits, the ledgers of settlement and of the live stream, the series, the rows in the
    metric store, and the visits that are open at the end of a day. For each day whose values do not agree, the command
    shows the differences and the hits that are lost beyond repair. At the end, the command shows the plans that repair
    the days with differences. The JSON output is a single object.
    """
    first, last = utc_dates(since, until)
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.api.control.v1 import reprocessing_pb2 as pb
        from hitmesh.client.reprocessing import check_history
        from hitmesh.tools.cli.reprocess_check_output import print_checked

        request = pb.CheckHistoryRequest(sites=sites or [_ALL], first_utc_date=first, last_utc_date=last)
        found = collected(check_history(mesh, request))
    print_checked(found, output)
    if found.problem_site_days:
        raise CommandFailed(Exit.PROBLEMS_FOUND, _cures_of(found), reason=LocalReason.HISTORY_DAMAGED)
    if not found.site_days and (sites or since or until):
        raise CommandFailed(
            NOTHING_FOUND,
            "no settled UTC day of these sites lies in this range, so nothing was checked: see the days with "
            "hitmesh drift, or leave --since and --until out",
            reason=LocalReason.NOTHING_FOUND,
        )


def _cures_of(found: Checked) -> str:
    """Return a message that states how many site-days have problems, and how to repair the problems."""
    from hitmesh.tools.cli.reprocess_check_output import is_beyond_repair
    from hitmesh.tools.cli.reprocess_output import BACKUP_CURE, count_of

    lost = sum(map(is_beyond_repair, found.problems))
    left = found.problem_site_days - lost
    cures = []
    if left:
        does = "does" if left == 1 else "do"
        cures.append(f"{count_of(left)} {does} not add up: run and publish the plans that repair them")
    if lost:
        has = "has" if lost == 1 else "have"
        cures.append(
            f"{count_of(lost)} {has} raw hits that are lost beyond repair, and no plan restores them; reports keep "
            f"their numbers: {BACKUP_CURE}"
        )
    return "; ".join(cures)


def collected(pages: Iterable[reprocessing_pb2.CheckHistoryResponse]) -> Checked:
    """Return the whole check, with progress on stderr."""
    from hitmesh.tools.cli.reprocess_check_output import EVERY_SITE_DAYS, Checked

    found, shown = Checked(), 0
    for page in pages:
        found.add(page)
        is_within_day = not page.site_days and page.raw_hits > 0
        if is_within_day or found.site_days - shown >= EVERY_SITE_DAYS:
            shown = found.site_days
            note(
                f"{found.site_days:,} site-days checked, {found.problem_site_days:,} do not add up; "
                f"{found.raw_hits:,} raw hits read"
            )
    return found
