"""ExportReport: answer a question with a file.

The request has no nested messages, so that it fits in a URL.

The limits are those of RunReport; a filter text may have 20,000 characters. A file has every row, unless the request
sets a limit. Without a limit, a report that is too large is refused. The file is sent in pieces that are small enough
for every gRPC client. The whole file is built first, because HTTP/1.1 cannot send an error status after the first
piece.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from google.api import httpbody_pb2

from hitmesh.access.callers import Caller
from hitmesh.api.reporter.v1 import export_pb2
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.dates import date_message
from hitmesh.model.errors import RefusedError, Variable
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.similar_names import similar
from hitmesh.model.zones import CivilTimeError, relative_dates
from reporter.answer.formats import CONTENT_TYPES, Format, to_file
from reporter.question.check_filter import message_of
from reporter.question.check_time import checked_zone
from reporter.question.filter_text import parse
from reporter.question.question import MAX_ROWS
from reporter.rpc.answer import Answer
from reporter.rpc.backend import Backend
from reporter.rpc.messages import meta_values
from reporter.rpc.run_report import answer_to
from reporter.rpc.sites import default_zone, sites_named

MAX_LIST_CHARS: Final = 4_000
# A gRPC client with default options accepts messages up to 4 MiB.
PIECE_BYTES: Final = 1 << 20
_GRAINS: Final = {
    "": pb.TIME_GRAIN_NONE,
    "none": pb.TIME_GRAIN_NONE,
    "hour": pb.TIME_GRAIN_HOUR,
    "day": pb.TIME_GRAIN_DAY,
    "week": pb.TIME_GRAIN_WEEK,
    "month": pb.TIME_GRAIN_MONTH,
}
_GAP_FILLS: Final = {
    "": pb.GAP_FILL_UNSPECIFIED,
    "none": pb.GAP_FILL_NONE,
    "zero": pb.GAP_FILL_ZERO,
    "null": pb.GAP_FILL_NULL,
}
_FORMATS: Final = {"": Format.CSV} | {form.value: form for form in Format}
_ISO_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_ChoiceT = TypeVar("_ChoiceT")


@dataclass(frozen=True, slots=True)
class File:
    """A file, and the answer that the file contains."""

    content_type: str
    content: bytes
    answer: Answer

    @property
    def cut_buckets(self) -> Sequence[str]:
        """The labels of the buckets that are shorter than the grain (rules Z3, Z4)."""
        buckets = self.answer.question.buckets
        return [label for label, is_cut in zip(buckets.labels, buckets.partial, strict=True) if is_cut]

    def pieces(self, max_bytes: int = PIECE_BYTES) -> Iterator[httpbody_pb2.HttpBody]:
        """Yield the content in pieces of `max_bytes`.

        The last piece may be shorter. If the content is empty, yield a single empty piece.
        """
        for begin in range(0, max(1, len(self.content)), max_bytes):
            yield httpbody_pb2.HttpBody(content_type=self.content_type, data=self.content[begin : begin + max_bytes])


def export_report(backend: Backend, caller: Caller | None, request: export_pb2.ExportReportRequest) -> File:
    """Return the file.

    Raises:
        NotFound, RefusedError: as for `run_report`. RefusedError is also raised if the request has no limit and the
            report has more than 100,000 rows (TOO_MANY_ROWS).
    """
    form = _choice("format", request.format, _FORMATS, ErrorReason.UNKNOWN_FORMAT)
    answer = answer_to(backend, caller, _question(backend, caller, request, form))
    if not request.HasField("limit"):
        _refuse_cut(answer)
    meta = meta_values(answer, backend.store_of(answer.path)) if form is Format.JSON else {}
    content = to_file(form, answer.rows, answer.totals, meta, answer.currency, backend.checkpoint)
    return File(CONTENT_TYPES[form], content, answer)


def _refuse_cut(answer: Answer) -> None:
    if len(answer.rows) < answer.rows.total_rows:
        raise RefusedError(
            f"the report has {answer.rows.total_rows:,} rows; a file without a limit holds at most {MAX_ROWS:,}: set a "
            "limit, or ask for a shorter range, a coarser grain or fewer dimensions",
            field="limit",
            reason=ErrorReason.TOO_MANY_ROWS,
            rows=answer.rows.total_rows,
            limit=MAX_ROWS,
        )


def _question(
    backend: Backend, caller: Caller | None, request: export_pb2.ExportReportRequest, form: Format
) -> pb.RunReportRequest:
    sites = sites_named(backend, request.site)
    zone = checked_zone(request.time_zone or default_zone(sites)[0])
    tree = parse(request.filter)
    return pb.RunReportRequest(
        site=request.site,
        metrics=_split("metrics", request.metrics),
        dimensions=_split("dimensions", request.dimensions),
        time_range=_time_range(request, zone, backend.clock.now()),
        time_grain=_choice("time_grain", request.time_grain, _GRAINS, ErrorReason.UNKNOWN_GRAIN),
        time_zone=request.time_zone,
        filter=message_of(tree) if tree else None,
        order_by=[
            pb.OrderBy(field=name.removeprefix("-"), descending=name.startswith("-"))
            for name in _split("order_by", request.order_by)
        ],
        limit=request.limit if request.HasField("limit") else MAX_ROWS,
        include_totals=request.include_totals,
        gap_fill=_gap_fill(request, form),
        include_excluded=request.include_excluded,
        data_version=request.data_version,
    )


def _gap_fill(request: export_pb2.ExportReportRequest, form: Format) -> pb.GapFill.ValueType:
    """Return the gap fill.

    If a CSV or NDJSON request sets neither gap fill nor limit, return an explicit ZERO, so that too many buckets are an
    error.

    A CSV or NDJSON file cannot contain the warning that empty buckets were left out.
    """
    chosen = _choice("gap_fill", request.gap_fill, _GAP_FILLS, ErrorReason.UNKNOWN_GAP_FILL)
    is_whole = not request.HasField("limit") and form is not Format.JSON
    return pb.GAP_FILL_ZERO if chosen == pb.GAP_FILL_UNSPECIFIED and is_whole else chosen


def _split(field: str, texts: Iterable[str]) -> list[str]:
    joined = ",".join(texts)
    if len(joined) > MAX_LIST_CHARS:
        raise RefusedError(
            f"{field} is {len(joined):,} characters; the limit is {MAX_LIST_CHARS:,}: list fewer names",
            field=field,
            count=len(joined),
            limit=MAX_LIST_CHARS,
        )
    return [name for part in joined.split(",") if (name := part.strip())]


def _choice(field: str, text: str, choices: Mapping[str, _ChoiceT], reason: ErrorReason) -> _ChoiceT:
    found = choices.get(text.strip().lower())
    if found is None:
        names = [name for name in choices if name]
        raise RefusedError(
            f"unknown {field} {text[:64]!r}: use one of {', '.join(names)}",
            field=field,
            reason=reason,
            value=text,
            similar=similar(text, names),
        )
    return found


def _time_range(request: export_pb2.ExportReportRequest, zone: str, now_ms: int) -> pb.TimeRange:
    """Return the range from `last`, or from `first_date` to `last_date` (default: today)."""
    try:
        if request.last:
            if request.first_date or request.last_date:
                raise _refused(
                    "last", "last is set together with first_date or last_date: give either last or the two dates"
                )
            return _between(*relative_dates(request.last, zone, now_ms))
        if not request.first_date:
            cure = "give first_date and last_date, for example 2026-11-01, or last=7d"
            raise _refused("first_date", f"no time range: {cure}")
        first = _date("first_date", request.first_date)
        today, _ = relative_dates("today", zone, now_ms)
        return _between(first, _date("last_date", request.last_date) if request.last_date else today)
    except CivilTimeError as error:
        error.field = error.field or "last"
        raise


def _between(first: dt.date, last: dt.date) -> pb.TimeRange:
    return pb.TimeRange(dates=pb.DateRange(first_date=date_message(first), last_date=date_message(last)))


def _date(field: str, text: str) -> dt.date:
    found = _ISO_DATE.fullmatch(text.strip())
    numbers: Sequence[int] = [int(number) for number in found.groups()] if found else (0, 0, 0)
    try:
        return dt.date(numbers[0], numbers[1], numbers[2])
    except ValueError as error:
        raise _refused(
            field, f"{field} {text[:32]!r} is not a date: write YYYY-MM-DD such as 2026-11-01", value=text
        ) from error


def _refused(field: str, message: str, **variables: Variable) -> RefusedError:
    return RefusedError(message, field=field, reason=ErrorReason.INVALID_TIME_RANGE, **variables)
