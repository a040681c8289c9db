"""`hitmesh ledger`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.dates import date_text, utc_dates
from hitmesh.tools.cli.exits import CommandFailed, Exit
from hitmesh.tools.cli.options import connect, connect_as_operator, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import echo, note, print_json, print_table

if TYPE_CHECKING:
    from google.type.date_pb2 import Date

    from hitmesh.api.control.v1 import operations_pb2
    from hitmesh.client.mesh import Mesh

NO_SITE = "(no site)"


@click.command(
    short_help="Check that every hit is accounted for.",
    epilog=examples(
        "hitmesh ledger",
        "hitmesh ledger --site demo/example --since 2026-11-01 -o json",
    )
    + "\n\n\b\nExit codes:\n  0    every hit is accounted for\n  7    the ledger does not balance, or "
    "acknowledged hits are unread for longer than --unread-after",
)
@site_option(required=False)
@click.option(
    "--since", callback=date_text, metavar="DATE", help="First UTC day to list. Default: the last 60 days with hits."
)
@click.option("--until", callback=date_text, metavar="DATE", help="Last UTC day to list, inclusive.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to retry while the ledger does not balance, because hits may be in transit.",
)
@click.option(
    "--unread-after",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Exit with 7 if the processor has not read acknowledged hits for longer than this.",
)
@output_option("table", "json")
@mesh_options
def ledger(
    site: str | None,
    since: str | None,
    until: str | None,
    timeout: float,
    unread_after: float,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Check that every hit of a site, or of every site, is accounted for.

    Received hits are rejected or accepted; accepted hits are counted, duplicate, excluded, erased or pending
    settlement. Checksums over the ids reveal a lost hit even if another hit was counted twice. With --site, the command
    lists days, and the JSON output is an object about the site. Without --site, the JSON output has a list of sites. If
    the caller may read the hits without a site, the JSON output also has these hits.
    """
    from hitmesh.client.sites import list_sites

    dates = utc_dates(since, until)
    with connect(endpoint, home) as mesh:
        if site is not None:
            answers = [_answer(mesh, site, timeout, dates)]
            imbalance = _show_site(answers[0], output)
        else:
            answers = [_answer(mesh, listed_site.name, timeout, dates) for listed_site in list_sites(mesh)]
            imbalance = _show_all(answers, _siteless(endpoint, home), output)
    if imbalance:
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"the ledger is out of balance by {counted(imbalance, 'hit')}, which are missing, doubled or in transit; "
            "see `hitmesh freshness`, and run again with a longer --timeout",
            reason=LocalReason.LEDGER_IMBALANCE,
        )
    _complain_of_unread(answers, unread_after)


def _complain_of_unread(found: Sequence[operations_pb2.GetLedgerResponse], after_s: float) -> None:
    late = [answer for answer in found if _unread_s(answer) > after_s and (answer.unread_hits or answer.unread_more)]
    if late:
        hits, oldest_s = sum(answer.unread_hits for answer in late), max(map(_unread_s, late))
        at_least = "at least " if any(answer.unread_more for answer in late) else ""
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"{at_least}{hits:,} acknowledged hits are unread, the oldest for {oldest_s:,.0f} s: the processor is down "
            "or waits for a store; see the processor's log and `hitmesh freshness`",
            reason=LocalReason.LEDGER_UNREAD,
        )


def _unread_s(found: operations_pb2.GetLedgerResponse) -> float:
    """Return the age in seconds of the oldest unread record, or 0 if the processor has read all records."""
    return (
        max(0.0, time.time() - found.unread_since.ToMilliseconds() / 1_000) if found.HasField("unread_since") else 0.0
    )


def _answer(
    mesh: Mesh, site: str, timeout: float, dates: tuple[Date | None, Date | None]
) -> operations_pb2.GetLedgerResponse:
    from hitmesh.client.ledger import balanced_ledger
    from hitmesh.client.visibility import Wait

    return balanced_ledger(mesh, site, Wait(timeout), first=dates[0], last=dates[1])


def _show_site(found: operations_pb2.GetLedgerResponse, output: str) -> int:
    if output == "json":
        print_json(_site_fields(found))
    else:
        _print_sites([found], None)
        echo()
        _print_days(found)
    return found.imbalance


def _siteless(endpoint: str | None, home: Path | None) -> operations_pb2.LedgerTotals | None:
    """Return the totals for hits without a site, if the operators' listener shows them to this caller."""
    from hitmesh.client.ledger import siteless_totals

    with connect_as_operator(endpoint, home) as mesh:
        return siteless_totals(mesh)


def _show_all(
    found: Sequence[operations_pb2.GetLedgerResponse], siteless: operations_pb2.LedgerTotals | None, output: str
) -> int:
    imbalance = sum(answer.imbalance for answer in found) + (siteless.imbalance if siteless is not None else 0)
    if output == "json":
        of_none = None if siteless is None else _totals_fields(siteless)
        print_json({"sites": [_site_fields(answer) for answer in found], "siteless": of_none, "imbalance": imbalance})
    else:
        _print_sites(found, siteless)
    return imbalance


def _print_sites(
    found: Sequence[operations_pb2.GetLedgerResponse], siteless: operations_pb2.LedgerTotals | None
) -> None:
    rows = [
        (
            short_site_name(answer.site),
            *_totals_cells(answer.totals),
            f"{answer.pending_hits:,}",
            f"{answer.unread_hits:,}",
            f"{answer.imbalance:,}",
        )
        for answer in found
    ]
    if siteless is not None:
        rows.append((NO_SITE, *_totals_cells(siteless), "0", "0", f"{siteless.imbalance:,}"))
    headers = ("site", "received", "rejected", "accepted", "pending", "unread", "imbalance")
    print_table(headers, rows, right_from=1, caption="received = rejected + accepted")


def _print_days(found: operations_pb2.GetLedgerResponse) -> None:
    from hitmesh.model.dates import date_text_of

    rows = [
        (
            date_text_of(day.utc_date),
            f"settled, generation {day.generation}" if day.settled else "live",
            f"{day.accepted.hits:,}",
            f"{day.counted:,}",
            f"{day.duplicate:,}",
            f"{day.excluded:,}",
            f"{day.erased:,}",
            f"{day.pending.hits:,}",
            f"{day.imbalance:,}",
        )
        for day in found.days
    ]
    headers = ("UTC day", "state", "accepted", "counted", "duplicate", "excluded", "erased", "pending", "imbalance")
    print_table(headers, rows, right_from=2, caption="accepted = counted + duplicate + excluded + erased + pending")
    if found.omitted_days:
        note(f"not listed: {counted(found.omitted_days, 'more day')} with hits; give --since and --until")


def _totals_cells(totals: operations_pb2.LedgerTotals) -> tuple[str, str, str]:
    return f"{totals.received.hits:,}", f"{totals.rejected.hits:,}", f"{totals.accepted.hits:,}"


def _site_fields(found: operations_pb2.GetLedgerResponse) -> dict[str, Any]:
    from hitmesh.model.dates import date_text_of

    return {
        "site": short_site_name(found.site),
        **_totals_fields(found.totals),
        "imbalance": found.imbalance,
        "pending": found.pending_hits,
        "unread": found.unread_hits,
        "unread_s": round(_unread_s(found)),
        "data_version": found.data_version,
        "omitted_days": found.omitted_days,
        "days": [
            {
                "utc_date": date_text_of(day.utc_date),
                "settled": day.settled,
                "generation": day.generation if day.HasField("generation") else None,
                "accepted": _count_fields(day.accepted),
                "counted": day.counted,
                "duplicate": day.duplicate,
                "excluded": day.excluded,
                "erased": day.erased,
                "pending": _count_fields(day.pending),
                "imbalance": day.imbalance,
            }
            for day in found.days
        ],
    }


def _totals_fields(totals: operations_pb2.LedgerTotals) -> dict[str, Any]:
    return {
        "received": _count_fields(totals.received),
        "rejected": _count_fields(totals.rejected),
        "accepted": _count_fields(totals.accepted),
        "imbalance": totals.imbalance,
    }


def _count_fields(count: operations_pb2.LedgerCount) -> dict[str, Any]:
    """Return a count as JSON fields. Checksums are hexadecimal text, because many JSON parsers round large numbers."""
    return {"hits": count.hits, "sum64": f"{count.sum64:016x}", "xor64": f"{count.xor64:016x}"}
