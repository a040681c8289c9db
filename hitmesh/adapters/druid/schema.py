"""Plan Druid's configuration: a supervisor, a compaction and a retention rule for each data source.

This module decides which settings differ from Druid's current settings. Before a supervisor's specification is
submitted, Druid parses a sample row with the specification.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, Final

from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.specs import KEEP_NOTHING, Spec, compaction, retention, supervisor
from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, Unavailable
from hitmesh.model.rows.rollup_rows import RowSource

_SERVER: Final = "druid"
INDEXER: Final = "/druid/indexer/v1"
COORDINATOR: Final = "/druid/coordinator/v1"
_NONE: Final[dict[str, Any]] = {}
_RUNNING_S: Final = 90.0
_PAUSE_S: Final = 0.2
_MAX_CHARS: Final = 500
# Matches an ISO 8601 duration. Durations are compared by length, because Druid returns PT3600S for PT60M.
_PERIOD: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_SECONDS: Final = (86_400, 3_600, 60, 1)
_SAMPLE: Final = '{"t":0,"site":"a","generation":0,"excluded":0,"hits":1,"visits":1,"presence":1,"sent":1}'


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Return the existing objects and the necessary changes, in the order in which they must be applied.

    Raises:
        RetryError: Druid does not answer.
        FatalError: Druid rejects a specification.
    """
    changes: list[Change] = []
    with closing(DruidClient(servers)) as client:
        for source in RowSource:
            changes.append(_supervisor(servers, client, source, options))
            changes.append(_compaction(servers, client, source))
            changes.append(_retention(servers, client, source, options))
    return changes


def _supervisor(servers: Servers, client: DruidClient, source: RowSource, options: SchemaOptions) -> Change:
    name, wanted = servers.data_source(source), supervisor(servers, source, options)
    thing = f"supervisor {name}"
    there = client.coordinator("GET", f"{INDEXER}/supervisor/{name}", missing=_NONE)
    apply = partial(_start, servers, source, wanted)
    if not there:
        description = f"reads topic {servers.rollups(source)} with {options.task_count} tasks"
        return Change(_SERVER, thing, Action.CREATE, description, apply)
    different = list(differences(wanted, there))
    if not different:
        return Change(_SERVER, thing, Action.KEEP, "up to date", apply)
    description = f"{', '.join(different)}; tasks publish their rows and restart, and no row is lost or read twice"
    return Change(_SERVER, thing, Action.CHANGE, description, apply)


def _start(servers: Servers, source: RowSource, wanted: Spec) -> None:
    """Test a specification, submit it, and block until the supervisor's tasks are running."""
    name = servers.data_source(source)
    with closing(DruidClient(servers)) as client:
        _try(client, wanted)
        client.coordinator("POST", f"{INDEXER}/supervisor", wanted)
        _await(lambda: _is_running(client, name), f"the supervisor of {name} did not run")


def _try(client: DruidClient, wanted: Spec) -> None:
    """Let Druid parse a sample row with the specification, without storing the row.

    Raises:
        FatalError: Druid parsed the row wrongly.
    """
    source = {
        "type": "index",
        "spec": {
            "type": "index",
            "dataSchema": wanted["spec"]["dataSchema"],
            "ioConfig": {
                "type": "index",
                "inputSource": {"type": "inline", "data": _SAMPLE},
                "inputFormat": {"type": "json"},
            },
        },
        "samplerConfig": {"numRows": 1, "timeoutMs": 10_000},
    }
    answer = client.coordinator("POST", f"{INDEXER}/sampler", source)
    rows = [row for row in answer.get("data", ()) if row.get("parsed")]
    if len(rows) != 1 or rows[0]["parsed"].get("presence") != 1 or rows[0].get("error"):
        raise FatalError(
            "Druid parsed a sample row incorrectly: check Druid's version and extensions; answer: "
            f"{str(answer)[:_MAX_CHARS]}",
            value=str(answer),
        )


def _is_running(client: DruidClient, name: str) -> bool:
    status = client.coordinator("GET", f"{INDEXER}/supervisor/{name}/status", missing=_NONE)
    state = status.get("payload", {})
    return state.get("detailedState") == "RUNNING" and bool(state.get("activeTasks"))


def _compaction(servers: Servers, client: DruidClient, source: RowSource) -> Change:
    name, wanted = servers.data_source(source), compaction(servers, source)
    path = f"{COORDINATOR}/config/compaction"
    there = client.coordinator("GET", f"{path}/{name}", missing=_NONE)
    apply = partial(_send, servers, path, wanted)
    return _change(
        f"compaction {name}", wanted, there, apply, "segments are merged two days after the end of their UTC day"
    )


def _retention(servers: Servers, client: DruidClient, source: RowSource, options: SchemaOptions) -> Change:
    name, wanted = servers.data_source(source), retention(options)
    path = f"{COORDINATOR}/rules/{name}"
    there = client.coordinator("GET", path, missing=[])
    if [rule.get("type") for rule in there] == [rule["type"] for rule in KEEP_NOTHING]:
        there = []  # an earlier mesh with the same name was removed and left this rule
    apply = partial(_send, servers, path, wanted)
    kept = f"{options.rows_retention_days} days" if options.rows_retention_days else "forever"
    return _change(f"retention {name}", wanted, there, apply, f"rows are kept {kept}")


def _change(thing: str, wanted: Any, there: Any, apply: Callable[[], None], description: str) -> Change:
    if not there:
        return Change(_SERVER, thing, Action.CREATE, description, apply)
    different = list(differences(wanted, there))
    if different:
        return Change(_SERVER, thing, Action.CHANGE, f"{', '.join(different)}; {description}", apply)
    return Change(_SERVER, thing, Action.KEEP, "up to date", apply)


def _send(servers: Servers, path: str, body: Any) -> None:
    with closing(DruidClient(servers)) as client:
        client.coordinator("POST", path, body)


def differences(wanted: Any, there: Any, where: str = "") -> list[str]:
    """Return a text for each wanted setting that is missing or different; additional existing settings are ignored."""
    if isinstance(wanted, dict) and isinstance(there, dict):
        return [
            difference
            for name, value in wanted.items()
            for difference in differences(value, there.get(name), f"{where}.{name}" if where else name)
        ]
    if isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        return [
            difference
            for index, (mine, theirs) in enumerate(zip(wanted, there, strict=True))
            for difference in differences(mine, theirs, f"{where}[{index}]")
        ]
    return [] if wanted == there or _same_time(wanted, there) else [f"{where or 'value'} {there} becomes {wanted}"]


def _same_time(wanted: Any, there: Any) -> bool:
    """Return whether two texts mean durations of equal length, in any notation."""
    return isinstance(wanted, str) and isinstance(there, str) and _seconds(wanted) == _seconds(there) is not None


def _seconds(period: str) -> float | None:
    """Return a duration in seconds. Return None for months, which have no fixed length, and for any other text."""
    found = _PERIOD.fullmatch(period)
    if found is None:
        return None
    return sum(float(number or 0) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True))


def _await(holds: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + _RUNNING_S
    while not holds():
        if time.monotonic() > deadline:
            raise Unavailable(f"{complaint} within {_RUNNING_S:.0f} s; see Druid's log", timeout_s=_RUNNING_S)
        time.sleep(_PAUSE_S)
