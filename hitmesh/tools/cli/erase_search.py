"""`hitmesh erase --dry-run`: show the plan of an erasure, and the visitor's hits that a bounded search finds."""

from __future__ import annotations

from typing import Any, Final

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.client.mesh import Mesh
from hitmesh.client.reprocessing import planned_erasure
from hitmesh.model.dates import date_text_of
from hitmesh.model.names import short_site_name
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import NOTHING_FOUND, CommandFailed
from hitmesh.tools.cli.output import note, print_json
from hitmesh.tools.cli.reprocess_output import fields_of, print_reprocessing

_SHOWN_DATES: Final = 5


def show_search(mesh: Mesh, wanted: pb.Reprocessing, output: str, *, is_unknown: bool) -> None:
    """Print the plan of an erasure and the result of the search.

    Raises:
        CommandFailed: the search read all days and found no hit, and `is_unknown` is false.
    """
    found = planned_erasure(mesh, wanted)
    search = found.visitor_search
    if output == "json":
        print_json(fields_of(found.reprocessing) | {"search": _fields_of(search)})
    else:
        print_reprocessing(found.reprocessing, output)
        note(_search_text(search))
    if not (search.hits or is_unknown) and _is_whole(search):
        raise CommandFailed(
            NOTHING_FOUND,
            f"no raw hit of the visitor is stored in {short_site_name(found.reprocessing.sites[0])}: check the id and "
            "the site; hits that were sent a moment ago are stored within seconds",
            reason=LocalReason.NOTHING_FOUND,
        )


def _is_whole(search: pb.VisitorSearch) -> bool:
    return search.searched_days == search.days


def _fields_of(search: pb.VisitorSearch) -> dict[str, Any]:
    return {
        "hits": search.hits,
        "site_days": search.site_days,
        "utc_dates": [date_text_of(date) for date in search.utc_dates],
        "searched_days": search.searched_days,
        "days": search.days,
        "complete": _is_whole(search),
    }


def _search_text(search: pb.VisitorSearch) -> str:
    days = [date_text_of(date) for date in search.utc_dates[:_SHOWN_DATES]]
    more = ", …" if search.site_days > len(days) else ""
    found = f"{search.hits:,}" + (
        f" on {counted(search.site_days, 'UTC day')} ({', '.join(days)}{more})" if days else ""
    )
    every = counted(search.days, "UTC day")
    if _is_whole(search):
        return f"stored hits of the visitor: {found}; the search read all raw hits of {every}"
    return (
        f"stored hits of the visitor: at least {found}; the search read only the newest {search.searched_days:,} of "
        f"{every} and then reached its limit, but an erasure without --dry-run reads all days"
    )
