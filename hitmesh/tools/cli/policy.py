"""`hitmesh policy`: show a site's visit policy, and schedule changes that apply from a UTC day on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.model.sites import policy_version
from hitmesh.tools.cli.dates import iso_date, utc_dates
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import connect, examples, mesh_options, output_option, site_option
from hitmesh.tools.cli.output import print_json, print_table

if TYPE_CHECKING:
    from google.type.date_pb2 import Date

    from hitmesh.api.control.v1 import admin_pb2

_SPLITS, _KEEPS = "splits", "keeps"


@click.group(
    cls=LazyGroup,
    lazy={
        "show": LazyCommand("hitmesh.tools.cli.policy:show", "Show a site's visit policy and its changes."),
        "schedule": LazyCommand("hitmesh.tools.cli.policy:schedule", "Change the visit policy from a UTC day on."),
    },
    name="policy",
    short_help="Show or change a site's visit policy.",
    epilog=examples(
        "hitmesh policy show --site demo/example",
        "hitmesh policy schedule --site demo/example --from 2027-01-01 --campaign keeps --midnight keeps",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def policy_group() -> None:
    """Show a site's visit policy, or change the policy for visits that begin on or after a future UTC day.

    A change cannot be edited or removed, and does not affect days that have begun.
    """


@click.command(
    short_help="Show a site's visit policy and its changes.",
    epilog=examples(
        "hitmesh policy show --site demo/example",
        "hitmesh policy show --site demo/example -o json",
    ),
)
@site_option()
@output_option("table", "json")
@mesh_options
def show(site: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show the visit policies of a site, ordered by the first UTC day of each policy.

    The JSON output is a single object with the list `policies`.
    """
    with connect(endpoint, home) as mesh:
        from hitmesh.client.sites import get_site

        found = get_site(mesh, site)
    _print(found, output)


@click.command(
    short_help="Change the visit policy from a UTC day on.",
    epilog=examples(
        "hitmesh policy schedule --site demo/example --from 2027-01-01 --campaign keeps --midnight keeps",
        "hitmesh policy schedule --site demo/example --from 2027-01-01 --campaign splits --midnight splits -o json",
    ),
)
@site_option()
@click.option(
    "--from",
    "from_day",
    required=True,
    callback=iso_date,
    metavar="DAY",
    help="First UTC day of the policy, YYYY-MM-DD; must begin 2 hours to 366 days from now.",
)
@click.option(
    "--campaign",
    required=True,
    type=click.Choice((_SPLITS, _KEEPS)),
    help="Whether a hit of another campaign splits a visit, or keeps the visit open.",
)
@click.option(
    "--midnight",
    required=True,
    type=click.Choice((_SPLITS, _KEEPS)),
    help="Whether midnight in the site's time zone splits a visit, or keeps the visit open.",
)
@output_option("table", "json")
@mesh_options
def schedule(
    *, site: str, from_day: str, campaign: str, midnight: str, output: str, endpoint: str | None, home: Path | None
) -> None:
    """Change the policy for visits that begin on the UTC day DAY or later, and print all policies as `show` does.

    The command needs a server key for all sites of the merchant. The change cannot be edited or removed. To return to
    the old policy, schedule another change for a later day. Repeating the command changes nothing.
    """
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.api.control.v1 import admin_pb2
        from hitmesh.client.sites import schedule_policy

        policy = admin_pb2.VisitPolicy(
            campaign_keeps_visit=campaign == _KEEPS, split_at_local_midnight=midnight == _SPLITS
        )
        first, _ = utc_dates(from_day, None)
        changed = schedule_policy(mesh, site, admin_pb2.VisitPolicyChange(first_utc_date=first, visit_policy=policy))
    _print(changed, output)


def _print(site: admin_pb2.Site, output: str) -> None:
    policies = list(_policies(site))
    if output == "json":
        print_json({"site": short_site_name(site.name), "time_zone": site.time_zone, "policies": policies})
        return
    rows = [(each["first_utc_date"] or "(creation)", *list(each.values())[1:]) for each in policies]
    print_table(("from UTC day", "campaign", "midnight", "version"), rows, right_from=4)


def _policies(site: admin_pb2.Site) -> Iterator[dict[str, Any]]:
    yield _fields(None, site.visit_policy)
    for change in site.visit_policy_changes:
        yield _fields(change.first_utc_date, change.visit_policy)


def _fields(first: Date | None, policy: admin_pb2.VisitPolicy) -> dict[str, Any]:
    keeps, midnight = policy.campaign_keeps_visit, policy.split_at_local_midnight
    return {
        "first_utc_date": f"{first.year:04}-{first.month:02}-{first.day:02}" if first else None,
        "campaign": _KEEPS if keeps else _SPLITS,
        "midnight": _SPLITS if midnight else _KEEPS,
        "version": policy_version(campaign_splits=not keeps, split_at_local_midnight=midnight),
    }
