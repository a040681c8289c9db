"""Encode and decode the stream table, in the same way for every store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hitmesh.model.positions import PartitionId
from hitmesh.model.stored import COPY_CURE, decoding, opened, sealed
from hitmesh.model.streams import GoneStream, Shadow, ShadowState, Stream, StreamTable

_SUBJECT: Final = "stream table"


def table_value(table: StreamTable) -> bytes:
    """Return a table as bytes."""
    shadow = table.shadow
    fields = {
        "version": table.version,
        "adopted": [_stream_fields(stream) for stream in table.adopted],
        "shadow": shadow
        and {
            "stream": _stream_fields(shadow.stream),
            "state": shadow.state,
            "started_at": shadow.started_at,
            "changed_at": shadow.changed_at,
            "stopped": _offsets_fields(shadow.stopped),
        },
        "gone": [[gone.generation, gone.first_day, gone.at] for gone in table.gone],
        "newest": table.newest,
    }
    return sealed(json.dumps(fields).encode())


def table_of(value: bytes) -> StreamTable:
    """Return the table in a stored value.

    Raises:
        StoreCorrupt: the value is damaged.
    """
    inner = opened(value, _SUBJECT, COPY_CURE)
    with decoding(_SUBJECT, COPY_CURE):
        fields = json.loads(bytes(inner))
        shadow = fields["shadow"]
        return StreamTable(
            version=fields["version"],
            adopted=tuple(map(_stream, fields["adopted"])),
            shadow=shadow
            and Shadow(
                _stream(shadow["stream"]),
                ShadowState(shadow["state"]),
                shadow["started_at"],
                shadow["changed_at"],
                _offsets(shadow["stopped"]),
            ),
            gone=tuple(GoneStream(*gone) for gone in fields["gone"]),
            newest=fields["newest"],
        )


def _stream_fields(stream: Stream) -> dict[str, Any]:
    return {
        "generation": stream.generation,
        "first_day": stream.first_day,
        "starts": _offsets_fields(stream.starts),
        "logic": stream.logic,
        "replaces": stream.replaces,
    }


def _stream(fields: Mapping[str, Any]) -> Stream:
    return Stream(**{**fields, "starts": _offsets(fields["starts"])})


def _offsets_fields(offsets: Mapping[PartitionId, int]) -> list[list[Any]]:
    return [[*partition, offset] for partition, offset in sorted(offsets.items())]


def _offsets(fields: Iterable[tuple[str, int, int]]) -> dict[PartitionId, int]:
    return {PartitionId(log, partition): offset for log, partition, offset in fields}
