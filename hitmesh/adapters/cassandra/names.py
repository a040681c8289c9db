"""Read names in order from a table with partitions (bucket) and rows (name)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.adapters.cassandra.pages import PageRequest, first_rows
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.keys import hash64
from hitmesh.model.sites import SiteDay

_BUCKETS: Final = 16


def bucket_of(name: str) -> int:
    """Return the bucket of a name."""
    return hash64(name) % _BUCKETS


def names_after(session: CassandraSession, table: str, after: str, limit: int) -> list[str]:
    """Return the first `limit` names after `after`, in order. The call reads only a few more names than `limit`."""
    cql = f"SELECT name FROM {table} WHERE bucket = ? AND name >= ? LIMIT ?"

    def pages(requests: Mapping[int, PageRequest]) -> dict[int, list[SiteDay]]:
        answers = session.run_each(cql, [(bucket, *request) for bucket, request in requests.items()])
        return {bucket: [SiteDay(row.name, 0) for row in rows] for bucket, rows in zip(requests, answers, strict=True)}

    rows = first_rows(dict.fromkeys(range(_BUCKETS), f"{after}\0"), pages, limit)
    return [row.site for row in rows[:limit]]
