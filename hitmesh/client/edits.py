"""Edits of a hit's JSON: rename, drop and set fields. Performs no I/O.

A path is a list of field names separated by dots, for example `pageView.url`; a number selects an element of a list. A
field name may be written as `visitorId` or as `visitor_id`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.json_hits import MAX_NESTING

MAX_EDITS: Final = 50
_MISSING: Final = object()

Path = tuple[str, ...]


class Unmendable(Exception):
    """A hit cannot be edited or read; the message says why."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits of a hit. Renames are applied first, then drops, then new values."""

    renames: tuple[tuple[Path, Path], ...] = ()
    drops: tuple[Path, ...] = ()
    values: tuple[tuple[Path, Any], ...] = ()

    def sets(self, name: str) -> bool:
        """Return whether an edit gives the top-level field `name` a value."""
        written = [*(path for _, path in self.renames), *(path for path, _ in self.values)]
        return any(_plain(path[0]) == _plain(name) for path in written)

    def applied(self, hit: dict[str, Any]) -> dict[str, Any]:
        """Return an edited copy of a hit's JSON.

        To rename or drop a missing field changes nothing.

        Raises:
            Unmendable: a path leads through a value that is not an object or list.

        Example:
            >>> edits_of(["pageView.url=/a"], ["visitor=visitorId"], ["note"]).applied({"visitor": "v", "note": 1})
            {'visitorId': 'v', 'pageView': {'url': '/a'}}
        """
        edited: dict[str, Any] = json.loads(json.dumps(hit))
        for path, renamed in self.renames:
            value = _removed(edited, path)
            if value is not _MISSING:
                _put(edited, renamed, value)
        for path in self.drops:
            _removed(edited, path)
        for path, value in self.values:
            _put(edited, path, value)
        return edited

    def found(self, hit: dict[str, Any]) -> frozenset[Path]:
        """Return the paths in a hit's JSON that these edits rename or drop.

        Example:
            >>> sorted(edits_of([], ["visitor=visitorId"], ["note"]).found({"visitor": "v"}))
            [('visitor',)]
        """
        edited: dict[str, Any] = json.loads(json.dumps(hit))
        found = set()
        for path, renamed in (*self.renames, *((path, None) for path in self.drops)):
            value = _removed(edited, path)
            if value is not _MISSING:
                found.add(path)
                if renamed is not None:
                    with contextlib.suppress(Unmendable):  # the user sees the error that `applied` raises
                        _put(edited, renamed, value)
        return frozenset(found)


def edits_of(values: Iterable[str], renames: Iterable[str], drops: Iterable[str]) -> Edits:
    """Parse edits, which have the form `field=value`, `old=new` (a rename) or `field` (a drop).

    A value that is JSON is used as JSON, any other value as a string.

    Raises:
        RefusedError: a text is not an edit, or there are more than MAX_EDITS.
    """
    found = Edits(
        renames=tuple((_path(old), _path(new)) for old, new in (_halves(text, "old=new") for text in renames)),
        drops=tuple(map(_path, drops)),
        values=tuple((_path(path), _value(value)) for path, value in (_halves(text, "field=value") for text in values)),
    )
    count = len(found.renames) + len(found.drops) + len(found.values)
    if count > MAX_EDITS:
        raise RefusedError(
            f"there are {count} edits; the limit is {MAX_EDITS}: give fewer edits",
            field="edits",
            count=count,
            limit=MAX_EDITS,
        )
    return found


def _halves(text: str, form: str) -> tuple[str, str]:
    first, separator, second = text.partition("=")
    if not separator or not first or (form == "old=new" and not second):
        raise RefusedError(f"{text[:80]!r} is not an edit: write {form}", field="edits", value=text, known=form)
    return first, second


def _path(text: str) -> Path:
    parts = tuple(text.split("."))
    if not all(parts) or len(parts) > MAX_NESTING:
        raise RefusedError(
            f"{text[:80]!r} is not a field: write at most {MAX_NESTING} names with dots between them, for example "
            "pageView.url",
            field="edits",
            value=text,
            limit=MAX_NESTING,
        )
    return parts


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _key(fields: dict[str, Any], name: str) -> str:
    """Return the name of the field that matches the given name, or the given name if no field matches."""
    if name in fields:
        return name
    return next((key for key in fields if _plain(key) == _plain(name)), name)


def _removed(fields: Any, path: Path) -> Any:
    """Remove and return the value at a path, or return `_MISSING` if the path has no value."""
    for name in path[:-1]:
        fields = _child(fields, name)
    if isinstance(fields, dict):
        return fields.pop(_key(fields, path[-1]), _MISSING)
    if isinstance(fields, list) and (at := _index(path[-1], fields)) is not None:
        return fields.pop(at)
    return _MISSING


def _put(fields: Any, path: Path, value: Any) -> None:
    for depth, name in enumerate(path[:-1]):
        child = _child(fields, name)
        if child is _MISSING and isinstance(fields, dict):
            child = fields[name] = {}
        if not isinstance(child, dict | list):
            raise Unmendable(f"{'.'.join(path[: depth + 1])} is not an object: set or drop this field first")
        fields = child
    if isinstance(fields, dict):
        fields[_key(fields, path[-1])] = value
    elif (at := _index(path[-1], fields)) is not None:
        fields[at] = value
    else:
        raise Unmendable(f"{'.'.join(path)}: the list has no element {path[-1]!r}: use a number from 0")


def _child(fields: Any, name: str) -> Any:
    if isinstance(fields, dict):
        return fields.get(_key(fields, name), _MISSING)
    if isinstance(fields, list) and (at := _index(name, fields)) is not None:
        return fields[at]
    return _MISSING


def _index(name: str, elements: list[Any]) -> int | None:
    is_index = name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(elements)
    return int(name) if is_index else None
