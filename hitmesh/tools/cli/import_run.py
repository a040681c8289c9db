"""Imports files: surveys the files, ensures that the site exists, sends the hits, waits for reports, counts copies.

This module decides the order of the steps of an import, and computes the reported number of duplicates. The module
`import_ledger` counts the hits of erased visitors. Files are read twice. The first pass checks the format, and computes
the digest and the range of days. The second pass sends the hits.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.batches import batches
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.sender import HitSender, Refusal, SendTotals
from hitmesh.client.sites import DEFAULT_CURRENCY, ensure_site
from hitmesh.client.visibility import Wait, wait_until_visible
from hitmesh.model.dates import date_message
from hitmesh.model.errors import RefusedError
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.import_ledger import (
    LEDGER_WAIT_S,
    NOTHING_BOOKED,
    Booked,
    booked,
    booked_with,
    erased_hits,
    utc_date,
)
from hitmesh.tools.cli.import_lines import lines_of
from hitmesh.tools.cli.progress import Progress
from hitmesh.tools.importers.lines import SkipReason, Tally

Reader = Callable[[Iterable[bytes], Tally], Iterator[hit_pb2.Hit]]

STDIN: Final = Path("-")
# Clauses for the error message about a damaged file. A clause says whether hits were sent. The first pass sends no hit.
# The second pass begins only if all files were intact. If a file is damaged in the second pass, the file was therefore
# changed between the passes.
_NOTHING_SENT: Final = "and no hit of any file was sent"
_CHANGED: Final = "and the file changed while its hits were sent; hits that are already stored do not count twice"
_NAMED_FILES: Final = 3  # Maximum number of file names in a message.
# First and last second (UTC) of the days that the reporter accepts.
FIRST_DAY_S: Final = 0
LAST_DAY_S: Final = 7_258_032_000  # 2199-12-31


@dataclass(frozen=True, slots=True)
class Source:
    """A named file; each call of `opened` opens the file at its beginning."""

    name: str
    opened: Callable[[], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True)
class Survey:
    """Result of the first pass: counts of lines and hits, first and last time (UTC seconds), and a digest of all lines.

    `formats` has a pair for each file that has lines: the file name, and the name of the detected format.
    """

    tally: Tally
    formats: tuple[tuple[str, str], ...]
    hits: int
    first_s: int
    last_s: int
    digest: str

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last UTC day with hits; None if the files have no hit."""
        return None if self.first_s > self.last_s else (utc_date(self.first_s), utc_date(self.last_s))


@dataclass(frozen=True, slots=True)
class Stored:
    """The hits on the days in the files: hits and copies in a report, and the days' ledger."""

    hits: int
    copies: int
    ledger: Booked = NOTHING_BOOKED


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import: sent = accepted + rejected + erased.

    `erased` is the number of hits that the mesh refused after the acknowledgement, because their visitor is erased.
    `duplicate` is a part of `accepted`. Without a wait, `duplicate` and `erased` are 0.
    """

    survey: Survey
    totals: SendTotals
    duplicate: int
    erased: int = 0

    @property
    def accepted(self) -> int:
        """The number of acknowledged hits, without the hits of erased visitors."""
        return self.totals.accepted - self.erased

    @property
    def examples(self) -> list[Refusal]:
        """The first refused hits, with the reasons."""
        return self.totals.examples

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON fields. Scripts depend on the names of the fields."""
        return {
            "lines": self.survey.tally.lines,
            "sent": self.totals.sent,
            "accepted": self.accepted,
            "rejected": self.totals.rejected,
            "duplicate": self.duplicate,
            "erased": self.erased,
            "skipped": {reason.value: count for reason, count in sorted(self.survey.tally.skipped.items())},
        }

    def as_text(self) -> str:
        """Return the result of the import as text for a person."""
        totals = self.totals
        skipped = [f"{reason.value} {count:,}" for reason, count in self.survey.tally.skipped.most_common()]
        erased = f", {self.erased:,} erased" if self.erased else ""
        return (
            f"{counted(self.survey.tally.lines, 'line')}, {counted(totals.sent, 'hit')} sent: "
            f"{self.accepted:,} accepted, {totals.rejected:,} rejected{erased}, "
            f"{self.duplicate:,} duplicate\nskipped: {', '.join(skipped) or 'nothing'}"
        )


def run_import(
    files: Sequence[Path],
    reader_for: Callable[[str, Sequence[str]], Reader],
    *,
    mesh: Mesh,
    site: str,
    currency: str | None,
    timeout_s: float | None,
    progress: Progress,
) -> Imported:
    """Import files in the given order; block until the numbers can be queried.

    Args:
        files: paths, or `-` for standard input.
        reader_for: returns the reader for files; its arguments are the currency of the prices and the site's own hosts.
        mesh: connection with a server key.
        site: full name; a missing site is created.
        currency: required currency of the site; None accepts any currency.
        timeout_s: maximum wait in seconds until the numbers can be queried, or None for no wait.
        progress: receives phases and counts.

    Raises:
        RefusedError: a file cannot be read in the format, or all files are empty (INVALID_FILE). No hit was sent and no
            site was created.
    """
    with ExitStack() as stack:
        sources = [_source(file, stack) for file in files]
        progress.phase("reading")
        surveyed = survey(sources, reader_for(currency or DEFAULT_CURRENCY, ()), progress)
        found = ensure_site(mesh, site, currency)
        before = stored(mesh, site, surveyed) if timeout_s is not None else None
        totals = _send(mesh, site, _hits(sources, reader_for(found.currency, found.own_hosts)), surveyed, progress)
    if timeout_s is None or before is None:
        return Imported(surveyed, totals, duplicate=0)
    progress.phase("waiting until the numbers can be queried")
    wait_until_visible(mesh, site, totals.offsets, Wait(timeout_s))
    after = stored(mesh, site, surveyed, before, totals.accepted)
    erased = erased_hits(before.ledger, after.ledger, totals)
    return Imported(surveyed, totals, duplicates(before, after, totals, erased), erased)


def _source(file: Path, stack: ExitStack) -> Source:
    if file != STDIN:
        return Source(str(file), lambda: file.open("rb"))
    copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
    shutil.copyfileobj(sys.stdin.buffer, copy)
    return Source("standard input", lambda: _from_the_beginning(cast(BinaryIO, copy)))


@contextmanager
def _from_the_beginning(copy: BinaryIO) -> Iterator[BinaryIO]:
    copy.seek(0)
    yield copy


def survey(sources: Sequence[Source], reader: Reader, progress: Progress) -> Survey:
    """Read all files once without sending.

    Raises:
        RefusedError: a file has the wrong format, damaged gzip data or no readable line, or all files are empty
            (INVALID_FILE).
    """
    digest = hashlib.blake2b(digest_size=16)
    total = Tally()
    formats: list[tuple[str, str]] = []
    hits, first_s, last_s = 0, LAST_DAY_S, FIRST_DAY_S
    for source in sources:
        tally = Tally(source.name)
        with source.opened() as file, _named(source):
            for hit in reader(_digested(lines_of(file, consequence=_NOTHING_SENT), digest), tally):
                hits += 1
                first_s = min(first_s, hit.true_time.seconds)
                last_s = max(last_s, hit.true_time.seconds)
                progress.reached(total.lines + tally.lines)
        _check_readable(source, tally)
        if tally.lines:
            formats.append((source.name, tally.format))
        total.add(tally)
    if not total.lines:
        names = ", ".join(source.name for source in sources[:_NAMED_FILES])
        raise RefusedError(
            f"there is no line in {names}: import a file that is not empty",
            field="file",
            reason=LocalReason.INVALID_FILE,
        )
    return Survey(total, tuple(formats), hits, max(first_s, FIRST_DAY_S), min(last_s, LAST_DAY_S), digest.hexdigest())


@contextmanager
def _named(source: Source) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise RefusedError(f"{source.name}: {error}", field=error.field, reason=error.reason) from error


def _check_readable(source: Source, tally: Tally) -> None:
    if tally.lines and tally.skipped[SkipReason.UNPARSABLE] == tally.lines:
        kind = (
            f" as {tally.format}" if tally.format else f" (line {tally.unread[0].number}: {tally.unread[0].complaint})"
        )
        format_ = f"{tally.format} file, or name the right --format" if tally.format else "file with valid values"
        raise RefusedError(
            f"none of the {tally.lines:,} lines of {source.name} can be read{kind}: import a {format_}",
            field="file",
            reason=LocalReason.INVALID_FILE,
        )


def _hits(sources: Sequence[Source], reader: Reader) -> Iterator[hit_pb2.Hit]:
    for source in sources:
        with source.opened() as file, _named(source):
            yield from reader(lines_of(file, consequence=_CHANGED), Tally())


def stored(mesh: Mesh, site: str, surveyed: Survey, before: Stored | None = None, accepted: int = 0) -> Stored:
    """Return the counts in reports and in the ledger on the UTC days that the files cover, including excluded hits.

    Args:
        mesh: the mesh.
        site: full name.
        surveyed: the files.
        before: the counts before the import; None to read these counts.
        accepted: the number of acknowledged hits; the ledger is read until it has them, for up to LEDGER_WAIT_S.
    """
    if surveyed.days is None:
        return Stored(0, 0)
    first, last = surveyed.days
    dates = reporter_pb2.DateRange(first_date=date_message(first), last_date=date_message(last))
    request = reporter_pb2.RunReportRequest(
        site=site,
        metrics=["hits", "duplicate_hits"],
        time_range=reporter_pb2.TimeRange(dates=dates),
        time_grain=reporter_pb2.TIME_GRAIN_NONE,
        time_zone="UTC",
        include_excluded=True,
    )
    answer = mesh.reporter.RunReport(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
    hits, copies = (cell.int64_value for cell in answer.rows[0].cells) if answer.rows else (0, 0)
    if before is None:
        return Stored(hits, copies, booked(mesh, site, first, last))
    ledger = booked_with(mesh, site, first, last, before.ledger, accepted, Wait(LEDGER_WAIT_S))
    return Stored(hits, copies, ledger)


def duplicates(before: Stored, after: Stored, totals: SendTotals, erased: int = 0) -> int:
    """Return the number of accepted hits that are copies of older stored hits.

    If no stream broke, the result is the number of new copies. If a stream broke, the new copies include hits that the
    sender sent twice. The result is therefore at most the number of accepted hits minus the number of new hits. The
    `erased` acknowledged hits are neither new hits nor copies.
    """
    new_copies, accepted = max(0, after.copies - before.copies), totals.accepted - erased
    if not totals.resent:
        return min(new_copies, accepted)
    new_hits = max(0, after.hits - before.hits)
    return min(new_copies, max(0, accepted - new_hits))


def _send(mesh: Mesh, site: str, hits: Iterator[hit_pb2.Hit], surveyed: Survey, progress: Progress) -> SendTotals:
    progress.phase("sending", surveyed.hits)
    with HitSender(mesh, site) as sender:
        for batch in batches(hits, surveyed.digest):
            sender.submit(batch)
            totals = sender.totals
            progress.reached(totals.accepted + totals.rejected)
        sender.drain()
        return sender.totals


def _digested(raw_lines: Iterable[bytes], digest: hashlib.blake2b) -> Iterator[bytes]:
    for raw in raw_lines:
        digest.update(raw)
        yield raw
