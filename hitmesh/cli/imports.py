"""`hitmesh import`: files of other programs become hits of a site."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.cli.lazy import LazyCommand, LazyGroup
from hitmesh.cli.options import CommandT, connect, currency_option, examples, mesh_options, output_option, site_option
from hitmesh.cli.output import note, print_json

if TYPE_CHECKING:
    from hitmesh.cli.import_run import Reader

DEFAULT_TIMEOUT_S: Final = 300.0


def _import_options(command: CommandT) -> CommandT:
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
        "--no-wait", is_flag=True, help="Do not wait until the numbers can be queried; `duplicate` is then 0."
    )(command)
    command = site_option()(command)
    return click.argument(
        "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), metavar="FILE"
    )(command)


@click.group(
    cls=LazyGroup,
    lazy={
        "access-log": LazyCommand("hitmesh.cli.imports:access_log", "Import an access log of Apache or nginx."),
        "shop-csv": LazyCommand("hitmesh.cli.imports:shop_csv", "Import the event export of a shop."),
    },
    name="import",
    short_help="Import an access log or a shop export.",
    epilog=examples(
        "hitmesh import access-log access.log --site demo/weblog",
        "hitmesh import shop-csv shop.csv --site demo/shop --currency USD",
    ),
)
def import_group() -> None:
    """Import files through the mesh's own stream.

    Importing a file again changes no report: its hits keep their ids.
    """


@click.command(
    name="access-log",
    short_help="Import an access log of Apache or nginx.",
    epilog=examples(
        "hitmesh import access-log access.log --site demo/weblog",
        "zcat access.log.*.gz | hitmesh import access-log - --site demo/weblog --timeout 600 -o json",
    ),
)
@_import_options
@currency_option("Currency of a site that is made now; else USD.")
def access_log(**options: Any) -> None:
    """Import an access log in common or combined format, plain or gzip; `-` is standard input.

    Successful GETs of pages become page views with the log's own times; lines are skipped as unparsable, method,
    status or static. A missing site is made, in UTC.

    With -o json one line: lines, sent, accepted, rejected, duplicate, skipped. `duplicate` are accepted hits whose ids
    were stored before, read from the site's reports before and after: other imports into the same days at the same
    time blur it, and with --no-wait it is 0.
    """
    from hitmesh.importers import access_log as importer

    _run(lambda _currency: importer.read, **options)


@click.command(
    name="shop-csv",
    short_help="Import the event export of a shop.",
    epilog=examples(
        "hitmesh import shop-csv shop.csv --site demo/shop --currency USD",
        "hitmesh import shop-csv shop.csv.gz --site demo/shop --no-wait -o json",
        "hitmesh import shop-csv sales.csv --site demo/shop --map event_time=date --map user_id=customer",
    ),
)
@_import_options
@currency_option("Currency of the prices; else the site's, USD for a new site.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="COLUMN=NAME",
    help="What the file calls a column, for example price=unit_amount; may be given several times.",
)
def shop_csv(maps: tuple[str, ...], **options: Any) -> None:
    """Import the event export of a shop as CSV, plain or gzip; `-` is standard input.

    Columns are event_time (ISO 8601, UTC without an offset), event_type, product_id, category_code, brand, price,
    user_id and user_session, in any order, with commas, semicolons or tabs between; --map says where a file calls them
    otherwise. view, cart and remove_from_cart become hits; purchases of one session, user and second become one order.
    Prices are rounded to a millionth. Broken rows are skipped as unparsable. `lines` counts rows; the header is none. A
    missing site is made, in UTC.
    """
    from hitmesh.importers import shop_csv as importer
    from hitmesh.importers.csv_rows import parse_map

    names = parse_map(maps, importer.COLUMNS)
    _run(lambda currency: lambda raw, tally: importer.read(raw, tally, currency=currency, names=names), **options)


def _run(
    reader_for: Callable[[str], Reader],
    *,
    file: Path,
    site: str,
    currency: str | None,
    no_wait: bool,
    timeout_s: float,
    output: str,
    endpoint: str | None,
    home: Path | None,
) -> None:
    with connect(endpoint, home, needs_key=True) as mesh:
        from hitmesh.cli.import_run import run_import
        from hitmesh.cli.progress import Progress

        with Progress() as progress:
            imported = run_import(
                file,
                reader_for,
                mesh=mesh,
                site=site,
                currency=currency,
                timeout_s=None if no_wait else timeout_s,
                progress=progress,
            )
    for refusal in imported.examples:
        note(f"refused {refusal.hit_id or 'a whole batch'}: {refusal.reason}: {refusal.message}")
    if output == "json":
        print_json(imported.as_json())
    else:
        click.echo(imported.as_text())
