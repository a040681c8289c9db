"""`hitmesh quota`: quotas for merchants, sites and keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hitmesh.model.names import MERCHANT_PATTERN, site_name
from hitmesh.tools.cli.dates import instant
from hitmesh.tools.cli.exits import EXIT_CODES_HELP
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    connect,
    connect_as_operator,
    examples,
    mesh_options,
    operator_options,
    output_option,
)
from hitmesh.tools.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datetime import datetime

    from hitmesh.api.control.v1 import quotas_pb2

_MODULE = "hitmesh.tools.cli.quota"
_LIMITS = ("hits_per_second", "bytes_per_second", "report_units_per_minute")
DEFAULT = "default"


@click.group(
    cls=LazyGroup,
    lazy={
        "show": LazyCommand(f"{_MODULE}:show", "Show a quota and its present use."),
        "set": LazyCommand(f"{_MODULE}:set_command", "Change a quota."),
    },
    name="quota",
    short_help="Show or change the quota of a merchant, site or key.",
    epilog=examples(
        "hitmesh quota show demo/example",
        "hitmesh quota set demo/example --hits-per-second 5000",
    )
    + "\n\n"
    + EXIT_CODES_HELP,
)
def quota_group() -> None:
    """Show or change the quota that a merchant, site or key has.

    Quotas limit how many hits and bytes sites and keys send per second, and how much a merchant's reports cost. Only
    an operator's key may change a quota.
    """


def _owner(_ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the full name for a merchant (`demo`), site (`demo/example`) or key (full name)."""
    if "/ingestKeys/" in value:
        return value
    if "/" in value.removeprefix("merchants/"):
        return site_name(value)
    name = value if value.startswith("merchants/") else f"merchants/{value}"
    if MERCHANT_PATTERN.fullmatch(name):
        return name
    raise click.BadParameter(f"{value!r} is not a merchant, site or key: write demo or demo/example", param=param)


def _limit(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    if value in (None, DEFAULT):
        return value
    if value is not None and value.isascii() and value.isdecimal():
        return int(value)
    raise click.BadParameter(f"{value!r} is not a number: write a whole number, or {DEFAULT}", param=param)


@click.command(
    short_help="Show a quota and its present use.",
    epilog=examples(
        "hitmesh quota show demo/example",
        "hitmesh quota show demo -o json",
    ),
)
@click.argument("owner", metavar="NAME", callback=_owner)
@output_option("table", "json")
@mesh_options
def show(owner: str, output: str, endpoint: str | None, home: Path | None) -> None:
    """Show the quota for NAME: a merchant (demo), a site (demo/example) or a key's full name.

    JSON is one object. Limits that are not stored have the services' default.
    """
    with connect(endpoint, home) as mesh:
        from hitmesh.client.quotas import get_quota

        found = get_quota(mesh, owner)
    if output == "json":
        print_json(_fields(owner, found.quota) | {"effective": _limits(found.effective)} | _use(found))
        return
    rows = [(name, f"{limit:,}") for name, limit in (_limits(found.effective) | _flat(_use(found))).items()]
    print_table(("quota", "value"), rows + _pending_rows(found.quota), right_from=1)


@click.command(
    "set",
    short_help="Change a quota.",
    epilog=examples(
        "hitmesh quota set demo/example --hits-per-second 5000 --bytes-per-second default",
        "hitmesh quota set demo --report-units-per-minute 60000000",
    ),
)
@click.argument("owner", metavar="NAME", callback=_owner)
@click.option("--hits-per-second", callback=_limit, metavar="N", help="Hits per second of a site or key, or default.")
@click.option("--bytes-per-second", callback=_limit, metavar="N", help="Bytes per second of a site or key, or default.")
@click.option(
    "--report-units-per-minute", callback=_limit, metavar="N", help="Cost of a merchant's reports, or default."
)
@click.option(
    "--effective-time",
    callback=instant,
    metavar="TIME",
    help="From when on the limits apply, such as 2026-12-24T00:00:00Z; default now.",
)
@click.option("--etag", default="", metavar="ETAG", help="Refuse the change if the quota has another etag.")
@output_option("table", "json")
@operator_options
def set_command(
    owner: str,
    output: str,
    endpoint: str | None,
    home: Path | None,
    effective_time: datetime | None,
    etag: str,
    **limits: int | str | None,
) -> None:
    """Change the quota for NAME: a merchant (demo), a site (demo/example) or a key's full name.

    Collectors apply a changed quota within 2 s, reporters within 5 s. With --effective-time, the change is stored as
    the pending change, and replaces an earlier pending change; without, a pending change is cancelled. JSON is one
    object.
    """
    wanted = {name: None if value == DEFAULT else value for name, value in limits.items() if value is not None}
    if not wanted:
        raise click.UsageError("give at least one limit, such as --hits-per-second 5000")
    with connect_as_operator(endpoint, home, needs_key=True) as mesh:
        from hitmesh.client.quotas import update_quota

        changed = update_quota(mesh, owner, wanted, effective_time=effective_time, etag=etag)  # type: ignore[arg-type]  # DEFAULT is None here
    fields = _fields(owner, changed)
    if output == "json":
        print_json(fields)
        return
    rows = [(name, f"{fields[name]:,}") for name in _LIMITS if name in fields] + _pending_rows(changed)
    print_table(("quota", "value"), rows, right_from=1)


def _pending_rows(quota: quotas_pb2.Quota) -> list[tuple[str, str]]:
    if not quota.HasField("pending_change"):
        return []
    since = quota.pending_change.effective_time.ToJsonString()
    return [(f"{name} from {since}", f"{limit:,}") for name, limit in _limits(quota.pending_change).items()]


def _limits(quota: quotas_pb2.Quota | quotas_pb2.QuotaChange) -> dict[str, int]:
    """Return the limits that a quota sets."""
    return {field.name: value for field, value in quota.ListFields() if field.name in _LIMITS}


def _fields(owner: str, quota: quotas_pb2.Quota) -> dict[str, Any]:
    pending = {}
    if quota.HasField("pending_change"):
        since = quota.pending_change.effective_time.ToJsonString()
        pending = {"pending_change": {"effective_time": since, **_limits(quota.pending_change)}}
    return {"name": owner, "etag": quota.etag, **_limits(quota), **pending}


def _use(found: quotas_pb2.GetQuotaResponse) -> dict[str, Any]:
    if not found.HasField("usage"):
        names = ("site_count", "max_sites", "key_count", "max_keys")
        return {name: getattr(found, name) for name in names}
    names = ("hits_per_second", "bytes_per_second", "refused_hits_per_second", "collectors")
    return {"usage": {name: getattr(found.usage, name) for name in names}}


def _flat(use: dict[str, Any]) -> dict[str, Any]:
    """Return the use with one level, for a table."""
    usage: dict[str, Any] = use.get("usage", {})
    return {f"used_{name}": value for name, value in usage.items()} if usage else use
