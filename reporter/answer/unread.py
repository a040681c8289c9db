"""What was acknowledged and not read: records of the log beyond the positions that the live stream has committed.

Decides how much of the log is looked at. A stream that reads nothing leaves its ledger in balance, so only the log
itself can say what is missing. Knows no time: how old is too old, the caller of the report decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import polars as pl

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.records import LoggedRecord, RecordKind
from hitmesh.model.rows.columns import unpack_record
from hitmesh.ports import LogScan

MAX_RECORDS: Final = 256
_FAR: Final = 2**62
_SITE: Final[dict[str, pl.DataType]] = {"site": pl.String()}


@dataclass(frozen=True, slots=True)
class Unread:
    """Hits of a site in records that were not read.

    Attributes:
        hits: of the records that were looked at.
        since: log time of the first record with hits that was not read, of any site, in UTC ms; None without one.
        is_more: more records wait than were looked at.
    """

    hits: int = 0
    since: int | None = None
    is_more: bool = False


def unread(
    scan: LogScan, progress: Mapping[PartitionId, PartitionProgress], site: str, *, max_records: int = MAX_RECORDS
) -> Unread:
    """Return the hits of a site that were acknowledged beyond `progress`, of at most so many records a partition."""
    hits, times, is_more = 0, [], False
    for partition, reached in sorted(progress.items()):
        records = scan.read(partition, reached.next_offset, _FAR, reached.log_time)
        seen = 0
        for record in islice(records, max_records):
            seen += 1
            if record.record.kind == RecordKind.HITS:
                hits += _hits_of(record, site)
                times.append(record.log_time)
        is_more = is_more or (seen == max_records and next(records, None) is not None)
    return Unread(hits, min(times, default=None), is_more)


def _hits_of(record: LoggedRecord, site: str) -> int:
    try:
        sites = unpack_record(record.record.value, _SITE)["site"]
    except StoreCorrupt:
        return 0  # the stream will set it aside; it counts among hits of no site
    return int((sites == site).sum())
