"""Test a keyspace that tests use one after another: tombstones of an earlier test hide no row of a later test."""

from __future__ import annotations

from contextlib import closing

from hitmesh.adapters.cassandra.series import CassandraSeriesStore
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers
from tests.support.servers import Meshes
from tests.support.stored_rows import DAY, SHOP
from tests.support.stream_builders import TODAY, a_partial, partials

MOST_KEYSPACES = 8


def used_again(meshes: Meshes, keyspace: str) -> Servers:
    """Return a mesh that uses the given keyspace again."""
    for _ in range(MOST_KEYSPACES):
        mesh = meshes.fresh(with_druid=False)
        if mesh.keyspace_name == keyspace:
            return mesh
        meshes.release(mesh, with_druid=False)
    raise AssertionError(f"the keyspace {keyspace} is not used again")


def test_tombstones_of_an_earlier_test_hide_no_row_with_an_older_write_timestamp(meshes: Meshes) -> None:
    first = meshes.fresh(with_druid=False)
    with closing(CassandraSession(first)) as session:
        CassandraSeriesStore(session).drop([(TODAY, 0)])
    meshes.release(first, with_druid=False)
    again = used_again(meshes, first.keyspace_name)
    with closing(CassandraSession(again)) as session:
        series = CassandraSeriesStore(session)
        series.put_partials(partials(a_partial(hits=5, written=1)))
        assert series.read(SHOP, DAY, DAY + 1, 0)["hits"].to_list() == [5]
    meshes.release(again, with_druid=False)
