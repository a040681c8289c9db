"""`hitmesh import`: read the files of other programs, and send their content as hits of a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import ALL_REFUSED, CommandFailed
from hitmesh.tools.cli.lazy import LazyCommand, LazyGroup
from hitmesh.tools.cli.options import (
    CommandT,
    connect,
    currency_option,
    examples,
    mesh_options,
    output_option,
    site_option,
)
from hitmesh.tools.cli.output import echo, note, print_json

if TYPE_CHECKING:
    from hitmesh.tools.cli.import_run import Imported, Reader
    from hitmesh.tools.importers.lines import Tally

DEFAULT_TIMEOUT_S: Final = 300.0


def import_options(command: CommandT) -> CommandT:
    """Add the options that all imports share; each import declares its file argument itself."""
    command = mesh_options(command)
    command = output_option("table", "json")(command)
    command = click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0),
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        metavar="S",
        help="Seconds to wait until the numbers can be queried.",
    )(command)
    command = click.option(
        "--no-wait",
        is_flag=True,
        help="Do not wait until the numbers can be queried; `duplicate` and `erased` are then 0.",
    )(command)
    return site_option()(command)


@click.group(
    cls=LazyGroup,
    lazy={
        "access-log": LazyCommand("hitmesh.tools.cli.import_log:access_log", "Import access logs."),
        "shop-csv": LazyCommand("hitmesh.tools.cli.imports:shop_csv", "Import the event export of a shop."),
    },
    name="import",
    short_help="Import an access log or a shop export.",
    epilog=examples(
        "hitmesh import access-log access.log --site demo/weblog",
        "hitmesh import shop-csv shop.csv --site demo/shop --currency USD",
    ),
)
def import_group() -> None:
    """Import files through the mesh's stream for hits.

    Importing a file again changes no report, because the hits have the same ids. Hits may be up to 13 months old. Older
    hits need a server key that CreateIngestKey created with `unboundedHistory`, such as the key of `hitmesh dev`. If
    all hits are refused, the exit code is 67.
    """


@click.command(
    name="shop-csv",
    short_help="Import the event export of a shop.",
    epilog=examples(
        "hitmesh import shop-csv shop.csv --site demo/shop --currency USD",
        "hitmesh import shop-csv shop.csv.gz --site demo/shop --no-wait -o json",
        "hitmesh import shop-csv sales.csv --site demo/shop --map event_time=date --map user_id=customer",
    ),
)
@import_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), metavar="FILE")
@currency_option("Currency of the prices. Default: the site's currency, USD for a new site.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=NAME",
    help="Name of a column in the file, for example price=unit_amount. Repeatable.",
)
def shop_csv(file: Path, maps: tuple[str, ...], **options: Any) -> None:
    """Import the event export of a shop as CSV, plain or gzip; `-` is standard input.

    The file's columns are event_time (ISO 8601; UTC if it has no offset), event_type, product_id, category_code, brand,
    price, user_id and user_session, in any order. Columns are separated by commas, semicolons or tabs. --map names a
    column that has another name in the file. Events view, cart and remove_from_cart become hits; purchases with the
    same session, user and second become one order. Prices are rounded to a millionth. Invalid rows are skipped as
    unparsable. `lines` in the output counts the rows, without the header. If the site does not exist, the command
    creates it with time zone UTC.
    """
    from hitmesh.tools.importers import shop_csv as importer
    from hitmesh.tools.importers.csv_rows import parse_map

    names = parse_map(maps, importer.COLUMNS)
    run(
        [file],
        lambda currency, _: lambda raw, tally: importer.read(raw, tally, currency=currency, names=names),
        **options,
    )


def run(
    files: Sequence[Path],
    reader_for: Callable[[str, Sequence[str]], Reader],
    *,
    site: str,
    currency: str | None,
    no_wait: bool,
    timeout_s: float,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    """Import files with the options of `import_options` and print the result."""
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.tools.cli.import_run import run_import
        from hitmesh.tools.cli.progress import Progress

        with Progress() as progress:
            imported = run_import(
                files,
                reader_for,
                mesh=mesh,
                site=site,
                currency=currency,
                timeout_s=None if no_wait else timeout_s,
                progress=progress,
            )
    for name, format_ in imported.survey.formats:
        if format_:
            note(f"{name}: read as {format_}")
    _note_unread(imported.survey.tally)
    for refusal in imported.examples:
        note(f"refused {refusal.hit_id or 'a whole batch'}: {refusal.reason}: {refusal.message}")
    if imported.erased:
        note(
            f"refused {counted(imported.erased, 'hit')}: VISITOR_ERASED: the visitor was erased from the site, and the "
            "erasure also covers earlier hits that arrive later"
        )
    if output == "json":
        print_json(imported.as_json())
    else:
        echo(imported.as_text())
    _fail_if_all_refused(imported)


def _fail_if_all_refused(imported: Imported) -> None:
    """Raise CommandFailed if hits were sent and the mesh accepted no hit."""
    totals = imported.totals
    if totals.accepted or not totals.rejected:
        return
    first = imported.examples[0] if imported.examples else None
    refused = "the only hit was" if totals.rejected == 1 else f"all {totals.rejected:,} hits were"
    raise CommandFailed(
        ALL_REFUSED,
        f"{refused} refused{f'; the first refusal: {first.message}' if first else ''}",
        reason=first.reason if first else LocalReason.FAILED,
    )


def _note_unread(tally: Tally) -> None:
    """Print the first unparsable lines, each with its reason, then the number of unparsable lines and the remedy."""
    from hitmesh.tools.importers.lines import SkipReason

    for line in tally.unread:
        why = f", because {line.complaint}" if line.complaint else ""
        note(f"{line.file}, line {line.number}: skipped as unparsable{why}: {line.text}")
    if tally.unread:
        note(
            f"unparsable lines: {tally.skipped[SkipReason.UNPARSABLE]:,} (shown: the first {len(tally.unread)}); "
            "correct the lines and import the files again: hits that are already stored do not count twice"
        )
