"""`hitmesh rejected replay`: mend rejected hits and send them again through the collector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.model.refusals import REPLAY_PREFIX
from hitmesh.tools.cli.exits import ALL_REFUSED, CommandFailed, Exit
from hitmesh.tools.cli.options import (
    connect_as_operator_or_merchant,
    examples,
    find_home,
    full_name_of_site,
    operator_options,
    output_option,
)
from hitmesh.tools.cli.output import echo, print_json, visible
from hitmesh.tools.cli.progress import Progress
from hitmesh.tools.cli.rejected import filter_options, request_of

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import rejected_hits_pb2
    from hitmesh.client.edits import Edits
    from hitmesh.client.mending import Mended
    from hitmesh.client.mesh import Mesh
    from hitmesh.client.replaying import Outcome

MAX_IDS: Final = 500
MAX_LISTED: Final = 1_000
"""Maximum number of refusals that the result lists; the counts include all refusals."""
_EXITS: Final = (
    "\n\n\b\nExit codes:\n  0    every selected hit was accepted, or no hit was selected\n  7    some hits were "
    "rejected again or cannot be replayed\n  67   no hit was accepted, and at least one was rejected again"
)


@dataclass(slots=True)
class Report:
    """The result of a replay: counts of refusals and hits, and a list of the refusals that still need work."""

    selected: int = 0
    replayed_before: int = 0
    replayed: int = 0
    hits: int = 0
    impossible: int = 0
    rejected: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    previews: list[dict[str, Any]] = field(default_factory=list)

    def note_impossible(self, name: str, why: str) -> None:
        """Count a refusal that cannot be replayed."""
        self.impossible += 1
        self._add_problem({"id": name, "reason": None, "field": None, "message": why})

    def note(self, outcome: Outcome, name: str) -> None:
        """Count the hits of a replayed refusal, and list the refusal if a hit was refused again."""
        if outcome.is_accepted:
            self.replayed += 1
            self.hits += outcome.hits
            return
        self.rejected += 1
        self.hits += outcome.hits - len(outcome.refused)
        first = outcome.refused[0]
        self._add_problem({"id": name, "reason": first.reason, "field": first.field or None, "message": first.message})

    def _add_problem(self, problem: dict[str, Any]) -> None:
        if len(self.problems) < MAX_LISTED:
            self.problems.append(problem)


@click.command(
    short_help="Mend rejected hits and send them again.",
    epilog=examples(
        "hitmesh rejected replay --site demo/example --reason MISSING_FIELD --rename visitor=visitorId --dry-run",
        "hitmesh rejected replay demo_example_1764442463195_0_42_3_rejected.1 --set order.currency=EUR",
        "hitmesh rejected replay --without-site --reason UNKNOWN_KEY --key new.key --as-site demo/example",
    )
    + _EXITS,
)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@filter_options
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="Rename a field. Can be repeated.")
@click.option("--drop", "drops", multiple=True, metavar="FIELD", help="Remove a field. Can be repeated.")
@click.option(
    "--set", "values", multiple=True, metavar="FIELD=VALUE", help="Set a field, after --rename and --drop. Repeatable."
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with the ingest key for sending. Default: HITMESH_KEY, HITMESH_KEY_FILE, else the home's server key.",
)
@click.option(
    "--as-site",
    callback=full_name_of_site,
    metavar="MERCHANT/SITE",
    help="Site to which the hits are sent. Default: the site of each hit; hits without a site need this option.",
)
@click.option("--dry-run", is_flag=True, help="Show the mended hits and the collector's decisions; store nothing.")
@output_option("table", "json")
@operator_options
def replay(
    *,
    ids: tuple[str, ...],
    site: str | None,
    without_site: bool,
    reason: str,
    since: str | None,
    until: str | None,
    renames: tuple[str, ...],
    drops: tuple[str, ...],
    values: tuple[str, ...],
    key_file: Path | None,
    as_site: str | None,
    dry_run: bool,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Send rejected hits again: the hits with these IDs, or all hits that the options select.

    A field is a path in the JSON of a hit, for example pageView.url; `show` prints the JSON. The command refuses an
    edit that writes an unknown field, or that renames or drops a field which no selected hit has. The collector applies
    all its checks to the hits. Each hit keeps its id and its original event time, so a hit that is already counted
    becomes a duplicate. Without IDs, the command skips hits that were already replayed, and rejections of replayed
    hits.
    """
    from hitmesh.client.edits import edits_of
    from hitmesh.client.hit_fields import require_found, require_known

    has_filter = any((site, without_site, reason, since, until))
    if bool(ids) == has_filter:
        raise click.UsageError("give either IDs, or options that select hits (--site, --reason, …)")
    if len(ids) > MAX_IDS:
        raise click.UsageError(
            f"there are {len(ids):,} IDs; the limit is {MAX_IDS}: select the hits with options instead"
        )
    try:
        edits = edits_of(values, renames, drops)
        require_known(edits)
    except RefusedError as error:
        raise click.UsageError(error.message) from error
    with connect_as_operator_or_merchant(endpoint, home, needs_key=True) as operator, Progress(unit="hits") as progress:
        sender = _sender(operator, key_file, home)
        wanted = request_of(site, reason, since, until, without_site=without_site)
        pages = partial(_by_id, operator, ids) if ids else partial(_by_filter, operator, wanted)
        try:
            require_found(edits, _kept_hits(pages(), skip_replayed=not ids))
        except RefusedError as error:
            raise click.UsageError(error.message) from error
        report = _replay_all(
            operator, sender, pages(), edits, as_site, progress, skip_replayed=not ids, dry_run=dry_run
        )
    _print(report, output, dry_run=dry_run)
    _fail(report, dry_run=dry_run)


def _sender(operator: Mesh, key_file: Path | None, home: Path | None) -> Mesh:
    """Return a Mesh that uses the ingest key, and shares the connection of the operator's Mesh."""
    import os

    from hitmesh.client.home import server_key, server_key_source
    from hitmesh.client.mesh import Mesh

    source = str(key_file)
    if key_file is None:
        place = find_home(home)
        key, source = server_key(place, os.environ), server_key_source(place, os.environ)
    else:
        try:
            key = key_file.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(
                f"the key in {key_file} cannot be read: name a text file that contains an ingest key",
                field="key",
                reason=LocalReason.INVALID_CONFIG,
            ) from error
    mesh = Mesh(operator.channel, key, source)
    mesh.require_key()
    return mesh


def _by_id(operator: Mesh, ids: Sequence[str]) -> Iterator[Sequence[rejected_hits_pb2.RejectedHit]]:
    from hitmesh.client.rejected_hits import full_name, get_rejected_hit

    names = dict.fromkeys(map(full_name, ids))
    yield [get_rejected_hit(operator, name) for name in names]


def _by_filter(
    operator: Mesh, wanted: rejected_hits_pb2.ListRejectedHitsRequest
) -> Iterator[Sequence[rejected_hits_pb2.RejectedHit]]:
    from hitmesh.client.rejected_hits import pages_of_rejected_hits

    return pages_of_rejected_hits(operator, wanted)


def _kept_hits(pages: Iterable[Sequence[rejected_hits_pb2.RejectedHit]], *, skip_replayed: bool) -> Iterator[Any]:
    """Yield the JSON of the hits that a replay would send.

    Refusals whose bytes were not kept or do not decode are left out.
    """
    from hitmesh.client.edits import Unmendable
    from hitmesh.client.mending import kept_of

    for page in pages:
        for rejected in page:
            if not (skip_replayed and (_is_replay(rejected) or rejected.HasField("replay_time"))):
                with suppress(Unmendable):
                    yield from kept_of(rejected).hits


def _is_replay(rejected: rejected_hits_pb2.RejectedHit) -> bool:
    """Return whether the refused hits were sent by an earlier replay.

    A caller may leave out the refusal of a replayed hit: the refusal of the original hit is listed too, and has all
    fields of the hit.
    """
    return rejected.batch_id.startswith(REPLAY_PREFIX)


def _replay_all(
    operator: Mesh,
    sender: Mesh,
    pages: Iterable[Sequence[rejected_hits_pb2.RejectedHit]],
    edits: Edits,
    as_site: str | None,
    progress: Progress,
    *,
    skip_replayed: bool,
    dry_run: bool,
) -> Report:
    """Mend the refusals page by page, send the hits, and record accepted replays. A dry run stores nothing."""
    from hitmesh.client.rejected_hits import mark_replayed, short_id
    from hitmesh.client.replaying import replay as send_again

    report, sent = Report(), 0
    progress.phase("replaying")
    for listed in pages:
        page = [each for each in listed if not (skip_replayed and _is_replay(each))]
        report.selected += len(page)
        fresh = [each for each in page if not (skip_replayed and each.HasField("replay_time"))]
        report.replayed_before += len(page) - len(fresh)
        made = list(_mended(fresh, edits, as_site, report))
        try:
            outcomes = send_again(sender, made, on_done=partial(_show, progress, sent), validate_only=dry_run)
        except Exception as error:
            sender.name_key(error)
            raise
        sent += sum(outcome.hits for outcome in outcomes)
        for outcome in outcomes:
            report.note(outcome, short_id(outcome.name))
        if dry_run:
            _preview(made, report)
        else:
            mark_replayed(operator, [outcome.name for outcome in outcomes if outcome.is_accepted])
    return report


def _show(progress: Progress, before: int, done: int) -> None:
    progress.reached(before + done)


def _mended(
    page: Iterable[rejected_hits_pb2.RejectedHit], edits: Edits, as_site: str | None, report: Report
) -> Iterator[Mended]:
    from hitmesh.client.edits import Unmendable
    from hitmesh.client.mending import mended
    from hitmesh.client.rejected_hits import short_id

    for rejected in page:
        try:
            made = mended(rejected, edits)
            if not (made.site or as_site):
                raise Unmendable("the hit has no site: give --as-site, and --key with a key of that site")
        except Unmendable as error:
            report.note_impossible(short_id(rejected.name), str(error))
        else:
            yield made._replace(site=as_site or made.site)


def _preview(made: Iterable[Mended], report: Report) -> None:
    from google.protobuf.json_format import MessageToDict

    from hitmesh.client.rejected_hits import short_id
    from hitmesh.model.names import short_site_name

    for each in made:
        if len(report.previews) < MAX_LISTED:
            hits = [MessageToDict(hit) for hit in each.hits]
            report.previews.append({"id": short_id(each.name), "site": short_site_name(each.site), "hits": hits})


def _print(report: Report, output: str, *, dry_run: bool) -> None:
    if output == "json":
        fields: dict[str, Any] = {
            "selected": report.selected,
            "replayed_before": report.replayed_before,
            "replayed": 0 if dry_run else report.replayed,
            "accepted_hits": 0 if dry_run else report.hits,
            "rejected_again": report.rejected,
            "impossible": report.impossible,
            "problems": report.problems,
        }
        if dry_run:
            fields |= {"would_replay": report.replayed, "would_send": report.previews}
        print_json(fields)
        return
    for preview in report.previews:
        from hitmesh.tools.cli.output import json_line

        echo(visible(f"{preview['id']}  {preview['site']}"))
        for hit in preview["hits"]:
            echo(visible(f"  {json_line(hit, None)}"))
    for problem in report.problems:
        why = f"{problem['reason']}: " if problem["reason"] else ""
        echo(visible(f"{problem['id']}  {why}{problem['message']}"))
    done = "would be replayed" if dry_run else "replayed"
    echo(
        f"{report.selected:,} selected: {report.replayed:,} {done}, "
        f"{report.rejected:,} {'would be ' if dry_run else ''}rejected again, "
        f"{report.impossible:,} cannot be replayed, {report.replayed_before:,} replayed before"
    )


def _fail(report: Report, *, dry_run: bool) -> None:
    """Raise if a selected hit was not accepted. A dry run raises if the real replay would raise."""
    verb, past = ("would reject", "would not be") if dry_run else ("rejected", "were not")
    if report.rejected and not report.hits:
        raise CommandFailed(
            ALL_REFUSED, f"the collector {verb} every hit again: see the reasons, and mend the hits with --set, …"
        )
    if report.rejected or report.impossible:
        raise CommandFailed(
            Exit.PROBLEMS_FOUND,
            f"{report.rejected + report.impossible:,} of {report.selected:,} rejected hits {past} replayed: see the "
            "reasons above",
            reason=LocalReason.FAILED,
        )
