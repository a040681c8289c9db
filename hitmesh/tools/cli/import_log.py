"""`hitmesh import access-log`: which files are read, in which format, and who the client of a request is."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from hitmesh.tools.cli.imports import import_options, run
from hitmesh.tools.cli.options import currency_option, examples

FORMATS: Final = (
    *("auto", "common", "combined", "vhost_combined", "nginx", "caddy", "json", "w3c", "cloudfront", "alb"),
)
FORWARDED: Final = "x-forwarded-for"
_STDIN: Final = "-"


@click.command(
    name="access-log",
    short_help="Import access logs.",
    epilog=examples(
        "hitmesh import access-log access.log --site demo/weblog --host shop.example",
        "hitmesh import access-log '/var/log/nginx/access.log*' --site demo/weblog",
        "hitmesh import access-log elb.log --format alb --site demo/weblog -o json",
        "hitmesh import access-log access.log --client-from x-forwarded-for --trusted-hops 2 --site demo/weblog",
    ),
)
@import_options
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="auto",
    show_default=True,
    help="Format of the log; auto finds it in the first lines of each file.",
)
@click.option("--host", default="", metavar="NAME", help="Host of pages where the log does not name it.")
@click.option(
    "--own-host",
    "own_hosts",
    multiple=True,
    metavar="NAME",
    help="A host of the site: referrers there, or below, are no source. May be given several times.",
)
@click.option(
    "--client-from",
    type=click.Choice(("peer", FORWARDED)),
    default="peer",
    show_default=True,
    help="Who the client is: who connected to the server, or who X-Forwarded-For names.",
)
@click.option(
    "--trusted-hops",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Proxies of your own before the server: the client is the Nth address from the end of X-Forwarded-For.",
)
@currency_option("Currency of a site that is made now; else USD.")
def access_log(
    files: Sequence[str],
    format_: str,
    host: str,
    own_hosts: Sequence[str],
    client_from: str,
    trusted_hops: int,
    **options: Any,
) -> None:
    """Import access logs, plain or gzip; `-` is standard input, `*`, `?` and `[...]` in a name are patterns.

    Successful GETs of pages become page views with the log's own times; lines are skipped as unparsable, method,
    status or static. A missing site is made, in UTC; a file of which nothing can be read is an error, and nothing is
    made or sent. A line has the same id in every file, so logs that overlap count each request once.

    With -o json one line: lines, sent, accepted, rejected, duplicate, skipped. `duplicate` are accepted hits whose ids
    were stored before, read from the site's reports before and after: other imports into the same days at the same
    time blur it, and with --no-wait it is 0.
    """
    from hitmesh.tools.importers import access_log as importer
    from hitmesh.tools.importers.log_formats import LogFormat

    read_as = importer.LogOptions(
        format=LogFormat(format_),
        host=host.strip(),
        own_hosts=frozenset(name.strip().lower().removesuffix(".") for name in own_hosts),
        trusted_hops=trusted_hops if client_from == FORWARDED else 0,
    )
    run(paths_of(files), lambda _currency: lambda raw, tally: importer.read(raw, tally, read_as), **options)


def paths_of(names: Sequence[str]) -> list[Path]:
    """Returns the files that names and patterns stand for, in order, each once.

    Raises:
        click.BadParameter: a name or pattern stands for no file.
    """
    found: dict[Path, None] = {}
    for name in names:
        is_one = name == _STDIN or Path(name).is_file()
        matching = [name] if is_one else sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # takes any pattern
        files = [Path(each) for each in matching if each == _STDIN or Path(each).is_file()]
        if not files:
            is_there = "is a directory" if Path(name).is_dir() else "does not exist, and no file matches it"
            raise click.BadParameter(f"{name!r} {is_there}: name files or a pattern", param_hint="FILE")
        found |= dict.fromkeys(files)
    return list(found)
