"""`hitmesh freshness`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import print_json, print_table, visible

if TYPE_CHECKING:
    from hitmesh.client.mesh import Mesh


@click.command(
    short_help="Show how current the reports are.",
    epilog=examples(
        "hitmesh freshness",
        "hitmesh freshness --site demo/example -o json",
    ),
)
@site_option(required=False)
@output_option("table", "json")
@mesh_options
def freshness(site: str | None, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show how current the reports are, for a site or for every site.

    Every hit acknowledged before "complete through" is in the reports; numbers before "settled to" are final. With
    --site, the JSON output is a single object; without --site, the JSON output is a list.
    """
    with connect(endpoint, home) as mesh:
        if site is not None:
            found = [_answer(mesh, site)]
        else:
            from hitmesh.client.sites import list_sites

            found = [_answer(mesh, listed_site.name) for listed_site in list_sites(mesh)]
    if output == "json":
        print_json(found[0] if site is not None else found)
        return
    rows = [
        (
            answer["site"],
            answer["state"],
            answer["complete_through"],
            answer["provisional_from"],
            "?" if answer["lag_s"] is None else f"{answer['lag_s']:,.1f}",
            f"{answer['dirty_days']:,}",
            f"{answer['open_days']:,}",
        )
        for answer in found
    ]
    headers = ("site", "state", "complete through", "settled to", "lag s", "days to settle", "open days")
    causes = sorted({visible(answer["cause"]) for answer in found if answer["cause"]})
    print_table(headers, rows, right_from=4, caption="\n".join([*causes, *_about_ahead(found)]) or None)


def _about_ahead(found: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each partition whose log time is ahead of the current time."""
    ahead = {(entry["log"], entry["partition"]): entry for site in found for entry in site["ahead"]}
    return [
        visible(
            f"log time of {log}/{partition} is {entry['log_time']}, which is in the future: hits with event times "
            f"before {entry['visits_wait_until']} join visits only when their day is settled; hits with later event "
            f"times join visits immediately. Correct the clock and wait; cause: {entry['cause']}."
        )
        for (log, partition), entry in sorted(ahead.items())
    ]


def _answer(mesh: Mesh, site: str) -> dict[str, Any]:
    from hitmesh.api.reporter.v1 import reporter_pb2
    from hitmesh.client.mesh import CALL_TIMEOUT_S

    request = reporter_pb2.GetFreshnessRequest(site=site)
    answer = mesh.reporter.GetFreshness(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    fresh = answer.freshness
    return {
        "site": short_site_name(site),
        "state": reporter_pb2.FreshnessState.Name(fresh.state).removeprefix("FRESHNESS_STATE_"),
        "complete_through": fresh.complete_through.ToJsonString(),
        "provisional_from": fresh.provisional_from.ToJsonString(),
        "live_from": fresh.live_from.ToJsonString(),
        "lag_s": fresh.lag.ToMilliseconds() / 1000 if fresh.HasField("lag") else None,
        "cause": fresh.cause,
        "stalled_partitions": list(fresh.stalled_partitions),
        "ahead": [
            {
                "log": partition.log,
                "partition": partition.partition,
                "log_time": partition.log_time.ToJsonString(),
                "visits_wait_until": partition.visits_wait_until.ToJsonString(),
                "cause": partition.cause,
            }
            for partition in fresh.ahead
        ],
        "dirty_days": answer.dirty_days,
        "resettling_days": answer.resettling_days,
        "open_days": answer.open_days,
        "data_version": answer.data_version,
        "partitions": [
            {
                "log": partition.log,
                "partition": partition.partition,
                "next_offset": partition.next_offset,
                "complete_through": partition.complete_through.ToJsonString(),
            }
            for partition in answer.partitions
        ],
    }
