"""The formats of access logs, keyed by name, and the detection of a log's format.

The detected format is the format that can read more of the log's first lines than any other format. If several formats
can read equally many lines, the most specific format is detected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain, islice
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.importers.lines import MAX_LINE_BYTES, Skipped
from hitmesh.tools.importers.log_fields import W3cReader, read_alb
from hitmesh.tools.importers.log_json import read_caddy, read_json
from hitmesh.tools.importers.log_ncsa import read_combined, read_vhost_combined
from hitmesh.tools.importers.log_requests import Request, text_of

SAMPLE_LINES: Final = 100
MAX_SHOWN: Final = 80

LineReader = Callable[[str], Request | None]
"""A function that parses a line's text.

The function returns None for a line without a request, such as a directive, and raises Skipped for an unparsable line.
"""


class LogFormat(StrEnum):
    """Format names, as accepted by `--format`."""

    AUTO = "auto"
    COMMON = "common"
    COMBINED = "combined"
    VHOST_COMBINED = "vhost_combined"
    NGINX = "nginx"
    CADDY = "caddy"
    JSON = "json"
    W3C = "w3c"
    CLOUDFRONT = "cloudfront"
    ALB = "alb"


# The formats that detection tries, ordered from specific to general. `common` and `nginx` are absent, because the
# reader for `combined` also reads lines in these two formats.
_TRIED: Final = (
    LogFormat.CADDY,
    LogFormat.JSON,
    LogFormat.CLOUDFRONT,
    LogFormat.W3C,
    LogFormat.ALB,
    LogFormat.VHOST_COMBINED,
    LogFormat.COMBINED,
)


def reader_of(format_: LogFormat) -> LineReader:
    """Return a new reader for a file in this format."""
    match format_:
        case LogFormat.CADDY:
            return read_caddy
        case LogFormat.JSON:
            return read_json
        case LogFormat.CLOUDFRONT | LogFormat.W3C:
            return W3cReader(cloudfront=format_ is LogFormat.CLOUDFRONT)
        case LogFormat.ALB:
            return read_alb
        case LogFormat.VHOST_COMBINED:
            return read_vhost_combined
        case LogFormat.COMMON | LogFormat.COMBINED | LogFormat.NGINX | LogFormat.AUTO:
            return read_combined


def found_format(
    requested: LogFormat, lines: Iterator[bytes], sample_lines: int = SAMPLE_LINES
) -> tuple[LogFormat, Iterable[bytes]]:
    """Return a log's format and all lines of the log.

    If the log is empty, any format may be returned.

    Raises:
        RefusedError: no format reads any of the first lines (INVALID_FILE).
    """
    if requested is not LogFormat.AUTO:
        return requested, lines
    sample = list(islice(lines, sample_lines))
    filled = [raw for raw in sample if raw.strip()]
    texts = [text_of(raw) for raw in filled if len(raw) <= MAX_LINE_BYTES]
    if filled and not texts:
        _refuse_long(len(filled))
    read = {each: _requests(reader_of(each), texts) for each in _TRIED}
    best = max(_TRIED, key=lambda each: len(read[each]))
    if texts and not read[best]:
        if not all(text.startswith("#") for text in texts):
            _refuse(texts)
        best = LogFormat.W3C
    if best is LogFormat.COMBINED and not any(each.agent or each.referrer for each in read[best]):
        best = LogFormat.COMMON
    return best, chain(sample, lines)


def _requests(parse: LineReader, texts: Sequence[str]) -> list[Request]:
    found = []
    for text in texts:
        try:
            request = parse(text)
        except Skipped:
            continue
        if request is not None:
            found.append(request)
    return found


def _refuse_long(lines: int) -> None:
    raise RefusedError(
        f"none of the first {lines} lines can be read as an access log, because every line is longer than "
        f"{MAX_LINE_BYTES:,} bytes: import a log with a request per line",
        field="file",
        reason=LocalReason.INVALID_FILE,
    )


def _refuse(texts: Sequence[str]) -> None:
    names = ", ".join(each.value for each in LogFormat if each is not LogFormat.AUTO)
    raise RefusedError(
        f"none of the first {len(texts)} lines can be read as an access log; the first is {texts[0][:MAX_SHOWN]!a}: "
        f"import a log in one of the formats {names}",
        field="file",
        reason=LocalReason.INVALID_FILE,
    )
