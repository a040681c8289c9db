"""Prints the output of commands: data to stdout, and everything else to stderr.

In every format, line ends and tabs are the only control characters that a terminal receives. All text is printed by
`echo`, `print_file`, `print_json` or `print_table`, which escape all other control characters for a terminal. Files and
pipes receive the data unchanged.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Width in characters for tables in a file or pipe. The width is so large that no table wraps.
_UNFOLDED_WIDTH: Final = 100_000
_HEIGHT: Final = 25
# Number of spaces between two columns of a table.
_BETWEEN_COLUMNS: Final = 3
# The zero-width joiner in emoji. Python classifies the zero-width joiner as not printable, but a terminal can print the
# joiner safely.
_JOINER: Final = "\u200d"


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print lines of text."""
    stream = sys.stderr if err else sys.stdout
    _write(_escaped_where(text, _obeyed) if stream.isatty() else text, stream, nl=nl)


def note(text: str) -> None:
    """Print a message for the user to stderr."""
    echo(text, err=True)


def print_file(content: bytes, form: str) -> None:
    """Print a file from the reporter (csv, json or ndjson). Control characters are escaped on a terminal."""
    if sys.stdout.isatty():
        text = content.decode(errors="backslashreplace")
        _write(_visible_csv(text) if form == "csv" else _visible_json(text), sys.stdout, nl=False)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any, *, err: bool = False) -> None:
    """Print a value as a JSON line."""
    stream = sys.stderr if err else sys.stdout
    line = json_line(value, getattr(stream, "encoding", None))
    _write(_visible_json(line) if stream.isatty() else line, stream)


def json_line(value: Any, encoding: str | None) -> str:
    """Return a value as a JSON line.

    If the encoding lacks a character, all non-ASCII characters are escaped.
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def stderr_console() -> Console:
    """Return the console on stderr; rich honours NO_COLOR and detects terminals."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, right_from: int, caption: str | None = None
) -> None:
    """Print a table; columns from index `right_from` on are numbers and are right-aligned.

    On a narrow terminal, texts wrap between words. A table that is too wide even with wrapped texts is printed as a
    line per cell.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hitmesh.tools.cli.table_layout import as_records, column_widths

    names = [visible(header) for header in headers]
    cells = [[visible(value) for value in row] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNFOLDED_WIDTH
    # If the height were not set, rich would assume that every dumb terminal is 80 characters wide.
    console = Console(highlight=False, width=width, height=_HEIGHT)
    room = width - _BETWEEN_COLUMNS * (len(names) - 1)
    widths = column_widths(names, cells, right_from=right_from, room=room)
    if widths is None:
        echo("\n".join(as_records(names, cells)))
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
        for index, (name, width) in enumerate(zip(names, widths, strict=True)):
            table.add_column(Text(name), justify="right" if index >= right_from else "left", width=width)
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
    if caption:
        console.print(Text(visible(caption), style="dim"))


def _write(text: str, stream: TextIO, *, nl: bool = True) -> None:
    # This function does not use click.echo, which writes UTF-8 even if the stream's encoding is ASCII.
    stream.write(f"{text}\n" if nl else text)
    stream.flush()


def visible(text: str) -> str:
    r"""Return the text with escapes such as `\x1b`, `\n` and `\u202e` for control and invisible characters."""
    return _escaped_where(text, _hidden)


def _hidden(char: str) -> bool:
    return not char.isprintable() and char != _JOINER


def _obeyed(char: str) -> bool:
    return _hidden(char) and char not in "\n\t"


def _escaped_where(text: str, is_wanted: Callable[[str], bool]) -> str:
    if text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode("ascii") if is_wanted(char) else char for char in text)


def _visible_json(text: str) -> str:
    """Replace control characters by JSON escapes. In JSON, control characters occur only inside strings."""
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if _obeyed(char) else char for char in text)


def _visible_csv(text: str) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows(map(visible, row) for row in csv.reader(io.StringIO(text, newline="")))
    return lines.getvalue()
