"""Count acknowledged hits in log records that the live stream has not read.

The ledger balances even if the live stream has stalled, so only the log shows the unread hits. At most MAX_RECORDS
records per partition are read. The caller decides how old an unread record must be to count as a problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.records import LoggedRecord, RecordKind
from hitmesh.ports import LogScan

MAX_RECORDS: Final = 256
_FAR: Final = 2**62


@dataclass(frozen=True, slots=True)
class Unread:
    """A site's hits in unread records.

    Attributes:
        hits: the number of hits in the examined records.
        since: log time of the first unread record with hits from any site, in UTC ms; None if no unread record has
            hits.
        is_more: whether some unread records were not examined. If true, `hits` is a lower bound.
    """

    hits: int = 0
    since: int | None = None
    is_more: bool = False


def unread(
    scan: LogScan, progress: Mapping[PartitionId, PartitionProgress], site: str, *, max_records: int = MAX_RECORDS
) -> Unread:
    """Return a site's acknowledged hits after `progress`, and read at most `max_records` records per partition."""
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
    from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record  # loads Polars, which few calls need

    try:
        sites = unpack_record(record.record.value, {"site": HITS_COLUMNS["site"]})["site"]
    except StoreCorrupt:
        return 0  # The stream will store this record as a refusal, and count its hits as hits without a site.
    return int((sites == site).sum())
