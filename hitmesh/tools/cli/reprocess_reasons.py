"""Shows the reasons why recomputed days differ, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.tools.cli.output import echo, note, print_table

_TEXTS: Final[Mapping[str, str]] = {
    "merged_visits": "visits merged into earlier visits",
    "split_visits": "visits split from earlier visits",
    "moved_visits": "visits moved to another cell or day",
    "added_visits": "visits added",
    "removed_visits": "visits removed",
    "newly_excluded_hits": "hits now excluded",
    "no_longer_excluded_hits": "hits no longer excluded",
    "newly_duplicate_hits": "hits that became duplicates",
    "no_longer_duplicate_hits": "duplicates that became hits",
    "joined_hits": "hits that arrived later",
}


def print_reasons(found: pb.GetReprocessingDiffResponse) -> None:
    """Print the reasons that occur, and the number of changed site-days without a known reason."""
    reasons = reason_fields(found.reasons) if found.HasField("reasons") else {}
    rows = [(text, f"{reasons[name]:,}") for name, text in _TEXTS.items() if reasons.get(name)]
    if rows:
        print_table(("why", "count"), rows, right_from=1)
        echo()
    unknown = found.changed_site_days - found.reasons.explained_site_days
    if unknown > 0:
        note(f"the reasons are not known for {unknown:,} of {found.changed_site_days:,} changed site-days")


def reason_fields(reasons: pb.ChangeReasons) -> dict[str, int]:
    """Return the reasons as JSON."""
    return {name: getattr(reasons, name) for name in ("explained_site_days", *_TEXTS)}
