"""Check the field names in edits, so that a misspelt name is refused before any hit is sent. Performs no I/O.

A field that an edit writes must be a field of `Hit`, because the collector ignores all other fields. A field that an
edit renames or drops may have any name, but at least one hit must have this field.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.edits import Edits, Path
from hitmesh.model.errors import RefusedError
from hitmesh.model.similar_names import nearest

_WELL_KNOWN: Final = "google.protobuf."


def require_known(edits: Edits) -> None:
    """Check that every path that the edits write is a path in the JSON of a Hit.

    Raises:
        RefusedError: a name is not a field; the message has the nearest field.
    """
    for path in (*(new for _, new in edits.renames), *(path for path, _ in edits.values)):
        _require_path(path)


def require_found(edits: Edits, hits: Iterable[Any]) -> None:
    """Check that each field that the edits rename or drop exists in at least one of the hits.

    If `hits` is empty, the check succeeds.

    Args:
        edits: the edits.
        hits: hits as JSON; the function stops reading when it has found every field.

    Raises:
        RefusedError: no hit has the field; the message has the nearest field of the hits.
    """
    wanted = dict.fromkeys([*(old for old, _ in edits.renames), *edits.drops])
    seen: dict[str, None] = {}
    for hit in hits:
        if not wanted:
            return
        if isinstance(hit, dict):
            found = edits.found(hit)
            wanted = {path: None for path in wanted if path not in found}
            seen |= dict.fromkeys(_paths(hit))
    if wanted and seen:
        name = ".".join(next(iter(wanted)))
        cure = nearest(name, seen)
        raise RefusedError(
            f"{name[:80]!r} is not a field of the selected hits: {cure}", field="edits", value=name, known=cure
        )


def _require_path(path: Path) -> None:
    message: Descriptor | None = hit_pb2.Hit.DESCRIPTOR
    steps = iter(enumerate(path))
    for at, name in steps:
        fields = [] if message is None else message.fields
        field = next((each for each in fields if name in (each.json_name, each.name)), None)
        if field is None:
            raise _unknown(path, at, [each.json_name for each in fields])
        message = _message_in(field)
        if field.is_repeated:
            next(steps, None)  # skip the next name, which is an index of the list or a key of the map


def _message_in(field: FieldDescriptor) -> Descriptor | None:
    """Return the message type of a field, or None if the field's JSON is not an object."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        message = message.fields_by_name["value"].message_type
    return None if message is None or message.full_name.startswith(_WELL_KNOWN) else message


def _unknown(path: Path, at: int, known: list[str]) -> RefusedError:
    name, parent = ".".join(path), ".".join(path[:at])
    cure = nearest(path[at], known) if known else f"set {parent} itself"
    cure = f"in {parent}, {cure}" if known and parent else cure
    return RefusedError(f"{name[:80]!r} is not a field of a hit: {cure}", field="edits", value=name, known=cure)


def _paths(hit: dict[str, Any]) -> Iterable[str]:
    """Yield the paths of a hit's fields, including the fields of nested objects."""
    for name, value in hit.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
