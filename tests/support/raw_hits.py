"""Build hits in the form in which a raw store contains them."""

from __future__ import annotations

from collections.abc import Sequence

from hitmesh.model.positions import Position
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.support.small_mesh import hit_rows

LOG = "hits-1"


def a_record(hits: Sequence[RefHit], log_time: int, offset: int, partition: int = 0) -> RawRecord:
    times = [hit.event_time for hit in hits]
    return RawRecord(
        position=Position(LOG, partition, offset),
        log_time=log_time,
        rows=len(hits),
        min_event_time=min(times),
        max_event_time=max(times),
        value=pack_record(hit_rows(hits)),
        schema_version=1,
        site_days=frozenset(SiteDay(hit.site, hit.event_time // DAY_MS) for hit in hits),
    )
