"""`hitmesh reprocess retired`: list the rows that reports no longer read by default, and the times of their removal."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.tools.cli.options import connect_as_operator, examples, operator_options, output_option, site_option
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import retired_pb2

MAX_LISTED: Final = 10_000
_PREFIX: Final = "RETIRED_REASON_"
_WHY: Final = {"DUE": "removed next", "DATA_VERSION": "kept for reports that ask for an earlier data version"}


@click.command(
    short_help="List replaced rows and when they are removed.",
    epilog=examples(
        "hitmesh reprocess retired",
        "hitmesh reprocess retired --site demo/example -o json",
    ),
)
@site_option(required=False)
@output_option("table", "json")
@operator_options
def retired(site: str | None, output: str, endpoint: str | None, home: Path | None) -> None:
    """List the generations whose rows are still stored although reports read other generations.

    A generation is a version of a site-day's numbers. The settler keeps a replaced generation for 30 days, but at most
    8 generations per site-day. The settler then removes the generation's rows from every store. Rows that no report
    ever read are removed within minutes. The numbers of rows and bytes are known only for stores in files; on servers,
    both are null in JSON. The JSON output is a single list; at most 10,000 generations are listed.
    """
    with connect_as_operator(endpoint, home) as mesh:
        from hitmesh.client.reprocessing import list_retired_generations

        found = list(islice(list_retired_generations(mesh, site or ""), MAX_LISTED + 1))
    if len(found) > MAX_LISTED:
        note(f"more than {MAX_LISTED:,} generations: only these are listed; name a site with --site")
    fields = [_fields_of(each) for each in found[:MAX_LISTED]]
    if output == "json":
        print_json(fields)
        return
    headers = ("site", "UTC day", "replaced at", "kept until", "why", "generation", "rows", "bytes")
    print_table(headers, map(_cells_of, fields), right_from=5)


def _fields_of(each: retired_pb2.RetiredGeneration) -> dict[str, Any]:
    from hitmesh.api.control.v1 import retired_pb2
    from hitmesh.client.reprocessing import short_id
    from hitmesh.model.dates import date_text_of
    from hitmesh.model.names import short_site_name

    return {
        "site": short_site_name(each.site),
        "utc_date": date_text_of(each.utc_date),
        "generation": each.generation,
        "replace_time": each.replace_time.ToJsonString() if each.HasField("replace_time") else None,
        "keep_until_time": each.keep_until_time.ToJsonString(),
        "reason": retired_pb2.RetiredReason.Name(each.reason).removeprefix(_PREFIX),
        "reprocessing": short_id(each.reprocessing) or None,
        "rows": each.rows if each.HasField("rows") else None,
        "size_bytes": each.size_bytes if each.HasField("size_bytes") else None,
    }


def _cells_of(fields: dict[str, Any]) -> tuple[str, ...]:
    why = f"reprocessing {fields['reprocessing']}" if fields["reprocessing"] else _WHY.get(fields["reason"], "")
    return (
        fields["site"],
        fields["utc_date"],
        fields["replace_time"] or "–",
        fields["keep_until_time"],
        why,
        f"{fields['generation']:,}",
        *("–" if fields[name] is None else f"{fields[name]:,}" for name in ("rows", "size_bytes")),
    )
