"""Write many sites and keys, and the stream's positions, directly to Cassandra's tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.progress import CassandraProgress
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import parse_servers
from hitmesh.adapters.shared.key_values import KEY_COLUMNS, key_values
from hitmesh.adapters.shared.site_values import SITE_COLUMNS, site_values
from hitmesh.model.keys import hash64
from hitmesh.model.names import merchant_of
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import IngestKey, Site
from tests.bench.placeholders import places

T = TypeVar("T")
_NAME_BUCKETS: Final = 16  # as in hitmesh.adapters.cassandra.directory
_AT_ONCE: Final = 20_000


def bulk_on_cassandra(url: str, sites: Iterable[Site], keys: Iterable[tuple[IngestKey, str]]) -> None:
    """Write sites and keys without the lightweight transactions that make names and secrets unique."""
    session = CassandraSession(parse_servers(url))
    for some in _portions(sites):
        session.run_many(
            f"INSERT INTO sites ({SITE_COLUMNS}, rules_version) VALUES ({places(SITE_COLUMNS)})",
            [(*site_values(site), site.rules.version or None) for site in some],
        )
        session.run_by_partition(
            "INSERT INTO sites_of_merchant (merchant, name) VALUES (?, ?)",
            [(merchant_of(site.name), site.name) for site in some],
            1,
        )
        session.run_by_partition(
            "INSERT INTO site_names (bucket, name) VALUES (?, ?)",
            [(hash64(site.name) % _NAME_BUCKETS, site.name) for site in some],
            1,
        )
    for those in _portions(keys):
        session.run_many(
            "INSERT INTO key_secrets (secret_digest, merchant, key_id) VALUES (?, ?, ?)",
            [(hashlib.sha256(secret.encode()).digest(), key.merchant, key.key_id) for key, secret in those],
        )
        session.run_many(
            f"INSERT INTO ingest_keys ({KEY_COLUMNS}, secret_digest) VALUES ({places(KEY_COLUMNS)})",
            [(*key_values(key), hashlib.sha256(secret.encode()).digest()) for key, secret in those],
        )
    session.close()


def commit_on_cassandra(url: str, reached: Mapping[PartitionId, PartitionProgress]) -> None:
    """Publish the positions as the stream does after its transaction."""
    session = CassandraSession(parse_servers(url))
    CassandraProgress(session, DeclaredLogs(session)).publish(reached)
    session.close()


def _portions(values: Iterable[T]) -> Iterator[list[T]]:
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some
