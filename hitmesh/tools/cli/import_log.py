"""`hitmesh import access-log`: choose files, log format and the client address of a request."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.tools.cli.imports import import_options, run
from hitmesh.tools.cli.options import currency_option, examples

if TYPE_CHECKING:
    from hitmesh.tools.cli.import_run import Reader

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
    help="Format of the log; auto detects the format in the first lines of each file.",
)
@click.option("--host", default="", metavar="NAME", help="Host of the pages, for lines that contain no host.")
@click.option(
    "--own-host",
    "own_hosts",
    multiple=True,
    metavar="NAME",
    help="A host of the site; referrers with this host or a subdomain are dropped. Repeatable. Default: the "
    "own hosts of the site.",
)
@click.option(
    "--client-from",
    type=click.Choice(("peer", FORWARDED)),
    default="peer",
    show_default=True,
    help="Source of the client address: the connection to the server, or X-Forwarded-For.",
)
@click.option(
    "--trusted-hops",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of your own proxies in front of the server. Counted from the end of X-Forwarded-For, the Nth address "
    "is the client.",
)
@currency_option("Currency of a new site. Default: USD.")
def access_log(
    files: Sequence[str],
    format_: str,
    host: str,
    own_hosts: Sequence[str],
    client_from: str,
    trusted_hops: int,
    **options: Any,
) -> None:
    """Import access logs, plain or gzip. `-` is standard input, and names may contain `*`, `?` and `[...]`.

    Successful GETs of pages become page views with the log's own times; other lines are skipped, with the reason
    unparsable, method, status or static. If the site does not exist, the command creates it with time zone UTC. If a
    file has no readable line, the command fails before it creates a site or sends a hit. A hit's id does not depend on
    the file that contains the line, so requests in overlapping logs are counted once.

    With -o json, the command prints an object with lines, sent, accepted, rejected, duplicate, erased and skipped;
    sent = accepted + rejected + erased. `duplicate` counts accepted hits whose ids were already stored, `erased` counts
    hits that the mesh refused because their visitor was erased. `duplicate` and `erased` are computed from the site's
    reports and ledger before and after the import. If several imports into the same days run at the same time,
    `duplicate` and `erased` are inexact. With --no-wait, both are 0, and hits of erased visitors count as accepted.
    """
    from hitmesh.tools.importers import access_log as importer
    from hitmesh.tools.importers.log_formats import LogFormat

    read_as = importer.LogOptions(
        format=LogFormat(format_),
        host=host.strip(),
        trusted_hops=trusted_hops if client_from == FORWARDED else 0,
    )
    given = frozenset(name.strip().lower().removesuffix(".") for name in own_hosts)

    def reader_for(_currency: str, hosts: Sequence[str]) -> Reader:
        of_site = replace(read_as, own_hosts=given or frozenset(hosts))
        return lambda raw, tally: importer.read(raw, tally, of_site)

    run(paths_of(files), reader_for, **options)


def paths_of(names: Sequence[str]) -> list[Path]:
    """Return the files that names and patterns match, in order, without duplicates.

    Raises:
        click.BadParameter: a name or pattern matches no file.
    """
    found: dict[Path, None] = {}
    for name in names:
        is_file = name == _STDIN or Path(name).is_file()
        matching = [name] if is_file else sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # takes any pattern
        files = [Path(each) for each in matching if each == _STDIN or Path(each).is_file()]
        if not files:
            is_there = "is a directory" if Path(name).is_dir() else "does not exist and matches no file"
            raise click.BadParameter(f"{name!r} {is_there}: name files or a pattern", param_hint="FILE")
        found |= dict.fromkeys(files)
    return list(found)
