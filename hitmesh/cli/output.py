"""What commands print: data to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough that a table in a file or a pipe is never folded.
_UNFOLDED_WIDTH: Final = 100_000
# Joins emoji; harmless, though Python does not call it printable.
_JOINER: Final = "\u200d"


def note(text: str) -> None:
    """Tells the person something that is no data."""
    click.echo(text, err=True)


def print_bytes(content: bytes) -> None:
    """Prints bytes unchanged."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    click.echo(json_line(value, getattr(sys.stdout, "encoding", None)))


def json_line(value: Any, encoding: str | None) -> str:
    """Returns a value as one line of JSON; with escapes of JSON where the output has no such characters."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def escape_what_cannot_be_written() -> None:
    """Makes standard output and error write characters that their encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stderr_console() -> Console:
    """Returns the console for people; rich honours NO_COLOR and knows whether it is a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, right_from: int, caption: str | None = None
) -> None:
    """Prints a table; columns from `right_from` on are numbers and stand to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for index, header in enumerate(headers):
        table.add_column(Text(visible(header)), justify="right" if index >= right_from else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(visible(value)) for value in row))
    on_terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if on_terminal else _UNFOLDED_WIDTH)
    console.print(table)
    if caption:
        console.print(Text(caption, style="dim"))


def visible(text: str) -> str:
    r"""Returns the text with what a terminal would obey, or hide, as escapes: `\x1b`, `\n`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == _JOINER else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
