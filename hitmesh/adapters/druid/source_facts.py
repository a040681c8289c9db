"""Facts about a mesh's data sources in Druid: supervisors, lag, segments, compaction. Changes nothing."""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.schema import COORDINATOR, INDEXER
from hitmesh.adapters.servers import Servers
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.server_facts import DruidSource

_NONE: Final[dict[str, Any]] = {}
_MAX_ERRORS: Final = 3
_MAX_CHARS: Final = 200


def druid_sources(servers: Servers) -> list[DruidSource]:
    """Return the facts about each data source that the mesh needs.

    Raises:
        Unavailable: Druid does not answer.
    """
    with closing(DruidClient(servers)) as client:
        # With `simple`, Druid returns the number of segments that no data server has loaded, by data source.
        unloaded = client.coordinator("GET", f"{COORDINATOR}/loadstatus?simple", missing=_NONE)
        return [_source(client, servers.data_source(source), unloaded) for source in RowSource]


def _source(client: DruidClient, name: str, unloaded: dict[str, Any]) -> DruidSource:
    spec = client.coordinator("GET", f"{INDEXER}/supervisor/{name}", missing=_NONE)
    status = client.coordinator("GET", f"{INDEXER}/supervisor/{name}/status", missing=_NONE).get("payload", {})
    compaction = client.coordinator("GET", f"{COORDINATOR}/config/compaction/{name}", missing=_NONE)
    rules = client.coordinator("GET", f"{COORDINATOR}/rules/{name}", missing=[])
    return source_facts(
        name, spec, status, int(unloaded.get(name, 0)), has_compaction=bool(compaction), has_retention=bool(rules)
    )


def source_facts(
    name: str,
    spec: dict[str, Any],
    status: dict[str, Any],
    unloaded: int,
    *,
    has_compaction: bool,
    has_retention: bool,
) -> DruidSource:
    """Return the facts in Druid's answers about a supervisor and its status."""
    lag = status.get("aggregateLag")
    errors = [str(error.get("message", error))[:_MAX_CHARS] for error in status.get("recentErrors", ())]
    return DruidSource(
        name=name,
        exists=bool(spec),
        is_suspended=bool(spec.get("suspended") or status.get("suspended")),
        state=str(status.get("detailedState", status.get("state", ""))),
        lag=None if lag is None else int(lag),
        tasks=len(status.get("activeTasks", ())),
        errors=errors[-_MAX_ERRORS:],
        unavailable_segments=unloaded,
        has_compaction=has_compaction,
        has_retention=has_retention,
    )
