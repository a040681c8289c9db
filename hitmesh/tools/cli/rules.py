"""`hitmesh rules`: exclusion rules of a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import short_site_name
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    connect_as_operator_or_merchant,
    examples,
    operator_options,
    output_option,
    site_option,
)
from hitmesh.tools.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import rules_pb2

_MODULE = "hitmesh.tools.cli.rules"
KINDS = ("host", "page", "country", "user-agent", "referrer", "network")


@click.group(
    cls=LazyGroup,
    lazy={
        "add": LazyCommand(f"{_MODULE}:add", "Add a rule: matching hits are excluded from now on."),
        "list": LazyCommand(f"{_MODULE}:list_command", "List the rules of a site."),
        "remove": LazyCommand(f"{_MODULE}:remove", "Remove a rule: matching hits count from now on."),
        "store-network": LazyCommand(
            f"{_MODULE}:store_network_command", "Start or stop storing truncated IP addresses."
        ),
    },
    name="rules",
    short_help="Exclude hits of a site from reports.",
    epilog=examples(
        "hitmesh rules add --site demo/example page '^/admin/'",
        "hitmesh rules list --site demo/example",
        "hitmesh rules remove --site demo/example 1",
        "hitmesh reprocess plan --site demo/example --since 2026-11-01 --until 2026-11-07 --kind rules",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def rules_group() -> None:
    """Exclude hits of a site from reports. Excluded hits are stored, and reports can include them.

    The commands need an operator's key, or a server key of the merchant (HITMESH_KEY). A change applies to hits that
    are collected from now on; `hitmesh reprocess plan --kind rules` applies the rules to settled days.
    """


@click.command(
    short_help="Add a rule: matching hits are excluded from now on.",
    epilog=examples(
        "hitmesh rules add --site demo/example page '^/admin/'",
        "hitmesh rules add --site demo/example host '*.staging.example'",
        "hitmesh rules add --site demo/example network 203.0.113.0/24 --dry-run",
    ),
)
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.argument("value")
@site_option()
@click.option("--dry-run", is_flag=True, help="Check the rule; do not store the rule.")
@output_option("table", "json")
@operator_options
def add(
    *, kind: str, value: str, site: str, dry_run: bool, output: str, endpoint: str | None, home: Path | None
) -> None:
    """From now on, exclude hits whose KIND matches VALUE.

    KIND is host, page, country, user-agent, referrer or network. For page and user-agent, VALUE is an RE2 expression.

    The JSON output is a single object; with --dry-run, the object has no id. If the site has an equal rule, nothing
    changes.
    """
    with connect_as_operator_or_merchant(endpoint, home) as mesh:
        from hitmesh.client.rules import create_rule

        created = create_rule(mesh, site, kind, value, validate_only=dry_run)
    _print([created.rule], output, alone=True)
    if created.rule.name and output != "json":
        note("settled days do not change; apply the rules with: hitmesh reprocess plan --kind rules")


@click.command(
    "list",
    short_help="List the rules of a site.",
    epilog=examples(
        "hitmesh rules list --site demo/example",
        "hitmesh rules list --site demo/example -o json",
    ),
)
@site_option()
@output_option("table", "json")
@operator_options
def list_command(site: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """List the rules of a site, the oldest first.

    The JSON output is a single list; without rules, the list is empty.
    """
    with connect_as_operator_or_merchant(endpoint, home) as mesh:
        from hitmesh.client.rules import list_rules

        found = list_rules(mesh, site)
    _print(list(found.rules), output)


@click.command(
    short_help="Remove a rule: matching hits count from now on.",
    epilog=examples(
        "hitmesh rules remove --site demo/example 1",
        "hitmesh rules remove --site demo/example 1 --dry-run -o json",
    ),
)
@click.argument("id_", metavar="ID")
@site_option()
@click.option("--dry-run", is_flag=True, help="Check that the rule exists; do not remove the rule.")
@output_option("table", "json")
@operator_options
def remove(*, id_: str, site: str, dry_run: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Remove the rule ID, so that matching hits count again from now on. The JSON output is a single object."""
    with connect_as_operator_or_merchant(endpoint, home) as mesh:
        from hitmesh.client.rules import delete_rule

        version = delete_rule(mesh, site, id_, validate_only=dry_run)
    if output == "json":
        print_json({"site": short_site_name(site), "id": id_, "removed": not dry_run, "rules_version": version})
    elif dry_run:
        note(f"rule {id_} exists and is not removed")
    else:
        note(f"rule {id_} is removed; apply the rules to settled days with: hitmesh reprocess plan --kind rules")


@click.command(
    "store-network",
    short_help="Start or stop storing truncated IP addresses.",
    epilog=examples(
        "hitmesh rules store-network --site demo/example",
        "hitmesh rules store-network --site demo/example --off",
    ),
)
@site_option()
@click.option("--off", is_flag=True, help="Store no addresses from now on. Stored addresses are kept.")
@output_option("table", "json")
@operator_options
def store_network_command(*, site: str, off: bool, output: str, endpoint: str | None, home: Path | None) -> None:
    """Store the truncated IP address (IPv4 /24, IPv6 /48) with the site's hits from now on, for rules of kind network.

    No address is stored with hits of visitors who denied consent. The JSON output is a single object.
    """
    with connect_as_operator_or_merchant(endpoint, home) as mesh:
        from hitmesh.client.rules import store_network

        changed = store_network(mesh, site, stored=not off)
    if output == "json":
        print_json({"site": short_site_name(changed.name), "store_network": changed.store_network})
    else:
        verb = "stores" if changed.store_network else "does not store"
        note(f"{short_site_name(changed.name)} {verb} truncated IP addresses")


def _print(rules: list[rules_pb2.ExclusionRule], output: str, *, alone: bool = False) -> None:
    from hitmesh.client.rules import kind_name

    if output == "json":
        fields = [_fields(rule) for rule in rules]
        print_json(fields[0] if alone else fields)
        return
    rows = [
        (rule.name.rpartition("/")[2], kind_name(rule.kind), rule.value, rule.create_time.ToJsonString())
        for rule in rules
    ]
    print_table(("id", "kind", "value", "created"), rows, right_from=4)


def _fields(rule: rules_pb2.ExclusionRule) -> dict[str, Any]:
    from hitmesh.client.rules import kind_name

    id_ = {"id": rule.name.rpartition("/")[2]} if rule.name else {}
    return id_ | {
        "kind": kind_name(rule.kind),
        "value": rule.value,
        "create_time": rule.create_time.ToJsonString(),
    }
