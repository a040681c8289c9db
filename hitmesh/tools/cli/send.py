"""`hitmesh send`: send a single hit from the command line."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, Final

import click

from hitmesh.tools.cli.exits import ALL_REFUSED, CommandFailed
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    connect,
    currency_option,
    examples,
    find_home,
    mesh_options,
    output_option,
    site_option,
)
from hitmesh.tools.cli.output import echo, note, print_json

VISITOR_FILE: Final = "visitor-id"


@click.group(
    cls=LazyGroup,
    lazy={"page": LazyCommand("hitmesh.tools.cli.send:page", "Send one page view.")},
    short_help="Send one hit.",
    epilog=examples(
        "hitmesh send page /hello --site demo/example",
        "hitmesh send page https://shop.example/cart?utm_source=letter --site demo/example -o json",
    ),
)
def send() -> None:
    """Send one hit by hand."""


@click.command(
    short_help="Send one page view.",
    epilog=examples(
        "hitmesh send page /hello --site demo/example",
        "hitmesh send page /spring?utm_source=letter --site demo/example --referrer https://search.example/ -o json",
    ),
)
@click.argument("url")
@site_option()
@click.option("--referrer", default="", metavar="URL", help="URL of the referring page.")
@currency_option("Currency of a new site. Default: USD.")
@output_option("table", "json")
@mesh_options
def page(
    url: str,
    site: str,
    referrer: str,
    currency: str | None,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Send one page view with the current time, and print the hit's id and position in the log.

    URL is an absolute URL, or a path that begins with /. If the site does not exist, the command creates it. All calls
    from a home directory have the same visitor id, so calls less than 30 minutes apart belong to the same visit.
    """
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.api.collector.v1 import collector_pb2
        from hitmesh.client.mesh import CALL_TIMEOUT_S, SITE_METADATA
        from hitmesh.client.sites import ensure_site

        ensure_site(mesh, site, currency)
        batch = _batch(url, referrer, mesh.require_key(), _visitor_id(find_home(home)))
        answer = mesh.collector.SendHits(
            collector_pb2.SendHitsRequest(batch=batch),
            timeout=CALL_TIMEOUT_S,
            metadata=(*mesh.credentials, (SITE_METADATA, site)),
        )
    for issue in answer.issues:
        reason = collector_pb2.Reason.Name(issue.reason).removeprefix("REASON_")
        if not answer.accepted_count:
            raise CommandFailed(ALL_REFUSED, f"the hit was refused: {issue.message}", reason=reason)
        note(f"{reason}: {issue.message}")
    places = [
        f"{receipt.log}/{receipt.partition}@{receipt.offset}" for receipt in answer.receipts if receipt.topic == "hits"
    ]
    _print(output, {"hit_id": batch.hits[0].hit_id, "outcome": "accepted", "receipts": places})


def _print(output: str, sent: dict[str, Any]) -> None:
    if output == "json":
        print_json(sent)
    else:
        echo(f"{sent['hit_id']}  {sent['outcome']}  {' '.join(sent['receipts'])}".rstrip())


def _batch(url: str, referrer: str, key: str, visitor_id: str) -> Any:
    from hitmesh.api.hit.v1 import hit_pb2
    from hitmesh.client.batches import SDK

    hit = hit_pb2.Hit(
        hit_id=uuid.uuid4().hex,
        type=hit_pb2.HIT_TYPE_PAGE_VIEW,
        visitor_id=visitor_id,
        page_view=hit_pb2.PageView(url=_text(url), referrer=_text(referrer)),
    )
    hit.true_time.GetCurrentTime()
    return hit_pb2.HitBatch(batch_id=hit.hit_id, ingest_key=key, sdk=SDK, hits=[hit])


def _text(argument: str) -> str:
    """Return an argument as valid UTF-8 text; replace bytes that are not UTF-8."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _visitor_id(home: Path) -> str:
    """Return the visitor id of this home directory.

    The first call generates the id and stores the id in the home directory.
    """
    path = home / VISITOR_FILE
    try:
        kept = path.read_text("ascii").strip()
        if kept:
            return kept
    except FileNotFoundError:
        pass
    home.mkdir(parents=True, exist_ok=True)
    made = uuid.uuid4().hex
    # If several processes run at the same time, only the first process can create the hard link `path`. All other
    # processes read their visitor id from `path`.
    draft = home / f".{VISITOR_FILE}.{made}"
    draft.write_text(made, "ascii")
    try:
        os.link(draft, path)
    except FileExistsError:
        return path.read_text("ascii").strip() or made
    finally:
        draft.unlink()
    return made
