"""`hitmesh erase`: find a visitor's hits, show how reports change, and remove the hits from all stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import NOTHING_FOUND, CommandFailed, Exit
from hitmesh.tools.cli.options import connect_as_operator, examples, full_name_of_site, operator_options, output_option
from hitmesh.tools.cli.output import echo, note, print_json

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import reprocessing_pb2
    from hitmesh.client.mesh import Mesh

_EXITS = (
    "\n\n\b\nExit codes:\n  0    done\n  7    the work failed, see the message\n  69   no hit of the visitor is known"
)


@click.command(
    short_help="Erase a visitor from reports and stores.",
    epilog=examples(
        "hitmesh erase --site demo/example --visitor 3f9c2a",
        "hitmesh erase --site demo/example --visitor 3f9c2a --publish -o json",
        "hitmesh erase --site demo/example --key 00112233445566778899aabbccddeeff --dry-run",
    )
    + _EXITS,
)
@click.option(
    "--site", required=True, callback=full_name_of_site, metavar="MERCHANT/SITE", help="Site, for example demo/example."
)
@click.option(
    "--visitor", "visitors", multiple=True, metavar="ID", help="Visitor id as sent. Can be given several times."
)
@click.option("--user", "users", multiple=True, metavar="ID", help="User id as sent. Can be given several times.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="HEX",
    help="Visitor key, as hitmesh trace shows it, for a visitor without an id. Can be given several times.",
)
@click.option("--publish", "is_published", is_flag=True, help="Remove the hits without a review of the difference.")
@click.option(
    "--unknown",
    "is_unknown",
    is_flag=True,
    help="Erase even if no hit of the visitor is known, for example to remove refused hits.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the plan, and search the raw hits for the visitor for up to 10 s; store nothing.",
)
@output_option("table", "json")
@operator_options
def erase(
    *,
    site: str,
    visitors: tuple[str, ...],
    users: tuple[str, ...],
    keys: tuple[str, ...],
    is_published: bool,
    is_unknown: bool,
    dry_run: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Find all hits that a visitor sent until now, and show how reports would change without these hits.

    With --publish, the hits are removed without a review: reports of closed days change as soon as the days are
    recomputed, but the sums of an open day stay until the day is settled, 26 hours after its end. Without --publish,
    no report changes until `hitmesh reprocess publish ID` removes the hits. The removal cannot be rolled back. If no
    hit of the visitor is known, the erasure is cancelled. The JSON output is a single object that has the difference
    in "diff" or, with --publish, the receipt in "receipt".

    With --dry-run, the command prints the plan and the visitor's hits that a search of the raw hits finds; in JSON, the
    result is in "search". The search reads the newest UTC day first, and ends after about 2,000,000 hits or 10 s. If
    the search reads all days and finds no hit, the exit code is 69.
    """
    if not visitors + users + keys:
        raise click.UsageError("no visitor is named: give --visitor, --user or --key")
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.api.control.v1 import reprocessing_pb2 as pb
        from hitmesh.client.reprocessing import create_reprocessing, publish_reprocessing, short_id, whole_diff
        from hitmesh.tools.cli.erase_search import show_search
        from hitmesh.tools.cli.reprocess_output import print_reprocessing
        from hitmesh.tools.cli.reprocess_work import if_interrupted

        wanted = pb.Reprocessing(
            kind=pb.REPROCESSING_KIND_ERASE,
            sites=[site],
            visitor=pb.ErasedVisitor(visitor_ids=visitors, user_ids=users, visitor_keys=keys),
        )
        if dry_run:
            show_search(mesh, wanted, output, is_unknown=is_unknown)
            return
        planned = create_reprocessing(mesh, wanted, validate_only=False)
        id_ = short_id(planned.name)
        with if_interrupted(
            "nothing is erased yet, the search for the hits goes on, and other reprocessings of the site are refused: "
            f"continue with hitmesh reprocess status {id_}, then hitmesh reprocess publish {id_} --wait; or drop the "
            f"erasure with hitmesh reprocess cancel {id_}"
        ):
            found = _worked_off(mesh, _begun(mesh, planned))
            difference = whole_diff(mesh, pb.GetReprocessingDiffRequest(name=found.name))
            if not (is_unknown or _known_hits(found, difference)):
                _refuse_unknown(mesh, found)
            if not is_published:
                _show_difference(found, difference, output)
                return
            publishing = publish_reprocessing(mesh, found.name)
        with if_interrupted(f"the erasure goes on without this command: see hitmesh reprocess status {id_}"):
            print_reprocessing(_worked_off(mesh, publishing), output)


def _begun(mesh: Mesh, planned: reprocessing_pb2.Reprocessing) -> reprocessing_pb2.Reprocessing:
    """Start the erasure that a plan describes.

    If the start fails, cancel the plan. If the cancellation also fails, tell the user which plan remains.
    """
    import grpc

    from hitmesh.client.reprocessing import cancel_reprocessing, run_reprocessing, short_id

    try:
        return run_reprocessing(mesh, planned.name)
    except grpc.RpcError:
        id_ = short_id(planned.name)
        try:
            cancel_reprocessing(mesh, planned.name)
        except grpc.RpcError:
            note(
                f"the erasure {id_} is still stored and may run: check hitmesh reprocess status {id_}, then drop it "
                f"with hitmesh reprocess cancel {id_}"
            )
        else:
            note(f"the erasure {id_} could not be started and was cancelled")
        raise


def _worked_off(mesh: Mesh, running: reprocessing_pb2.Reprocessing) -> reprocessing_pb2.Reprocessing:
    """Wait until the requested work has ended, and return the reprocessing.

    Raises:
        CommandFailed: the work failed.
    """
    from hitmesh.tools.cli.reprocess_output import state_name
    from hitmesh.tools.cli.reprocess_work import finished

    found = finished(mesh, running)
    if state_name(found) == "FAILED":
        raise CommandFailed(Exit.PROBLEMS_FOUND, found.error, reason=LocalReason.REPROCESSING_FAILED)
    return found


def _settled_hits(difference: reprocessing_pb2.GetReprocessingDiffResponse) -> int:
    """Return the number of the visitor's hits on settled days, by event time."""
    return difference.ledger_after.erased - difference.ledger_before.erased


def _known_hits(found: reprocessing_pb2.Reprocessing, difference: reprocessing_pb2.GetReprocessingDiffResponse) -> int:
    """Return the number of the visitor's hits that were found."""
    return found.open_hits + _settled_hits(difference)


def _refuse_unknown(mesh: Mesh, found: reprocessing_pb2.Reprocessing) -> NoReturn:
    """Cancel an erasure that would remove no hit, and raise an error.

    If the erasure were not cancelled, the mesh would refuse every other erasure on the site.

    Raises:
        CommandFailed: no hit of the visitor is known.
    """
    from hitmesh.client.reprocessing import cancel_reprocessing, short_id
    from hitmesh.model.names import short_site_name

    cancel_reprocessing(mesh, found.name)
    site = short_site_name(found.sites[0])
    raise CommandFailed(
        NOTHING_FOUND,
        f"no hit of the visitor is known in {site}, so the erasure {short_id(found.name)} is cancelled: check the id "
        "and the site; hits that were sent a moment ago are known within seconds. To remove refused hits, and to "
        "erase earlier hits that arrive later, give --unknown",
        reason=LocalReason.NOTHING_FOUND,
    )


def _show_difference(
    found: reprocessing_pb2.Reprocessing, difference: reprocessing_pb2.GetReprocessingDiffResponse, output: str
) -> None:
    from hitmesh.client.reprocessing import short_id
    from hitmesh.tools.cli.reprocess_output import fields_of, print_reprocessing
    from hitmesh.tools.cli.reprocess_tables import diff_fields, print_diff

    known = {"settled": _settled_hits(difference), "open": found.open_hits}
    if output == "json":
        print_json(fields_of(found) | {"known_hits": known, "diff": diff_fields(difference, "")})
        return
    print_reprocessing(found, output)
    echo()
    print_diff(difference, "")
    note(
        f"known hits of the visitor: {known['settled']:,} on settled days, {known['open']:,} on days that are "
        "not settled yet"
    )
    note(
        f"no report changed yet; next: hitmesh reprocess publish {short_id(found.name)} --wait, which removes the hits "
        "for good"
    )
