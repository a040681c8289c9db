"""Describes why a hit's JSON does not parse.

The message has the faulty field's path and value, the rule and the remedy. To find the faulty field, each field is
parsed separately. Only hits that failed to parse are examined. The caller bounds the number of examined hits. This
module does not decide whether a hit is accepted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from collector.admission.verdicts import shown
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.json_hits import MAX_NESTING

Broken = (json_format.ParseError, DecodeError, ValueError, TypeError, RecursionError)

_PREFIX: Final = "HIT_TYPE_"
_TYPES: Final = [name.removeprefix(_PREFIX) for name, number in hit_pb2.HitType.items() if number]
_MAX_COMPARED: Final = 60
_A_TIME: Final = 'write a time like "2026-01-31T12:00:00Z"'
_Kind = FieldDescriptor
_RULES: Final[Mapping[int, str]] = {
    _Kind.CPPTYPE_STRING: "write a string",
    _Kind.CPPTYPE_BOOL: "write true or false",
    _Kind.CPPTYPE_DOUBLE: "write a number",
    _Kind.CPPTYPE_FLOAT: "write a number",
    _Kind.CPPTYPE_INT32: "write a whole number from -2^31 to 2^31-1",
    _Kind.CPPTYPE_INT64: "write a whole number from -2^63 to 2^63-1",
    _Kind.CPPTYPE_UINT32: "write a whole number from 0 to 2^32-1",
    _Kind.CPPTYPE_UINT64: "write a whole number from 0 to 2^64-1",
    _Kind.CPPTYPE_MESSAGE: "write an object",
}


class Wrong(NamedTuple):
    """The path of the faulty field ("" for the hit itself), and the message."""

    field: str
    message: str


def wrong_in(hit: object) -> Wrong:
    """Return the fault of a hit that does not parse. The search takes a few times longer than parsing the hit."""
    if not isinstance(hit, dict):
        return Wrong("", f"the hit is {_shown(hit)}: write an object")
    found = _wrong_field(hit, hit_pb2.Hit.DESCRIPTOR, "")
    if found is not None:
        return found
    payloads = [name for name in hit if (field := _field(hit_pb2.Hit.DESCRIPTOR, name)) and field.containing_oneof]
    if len(payloads) > 1:
        return Wrong("payload", f"the hit has the payloads {', '.join(payloads)}: send one hit for each")
    return Wrong("", "the hit is not the JSON of a Hit: compare its fields with hitmesh.api.hit.v1.Hit")


def unknown_type(sent: str) -> str:
    """Return the message about an unknown hit type. The message names the most similar known type."""
    return f"type {_shown(sent)} is not known: use {_nearest_type(sent)}"


def _nearest_type(sent: str) -> str:
    plain = re.sub("[^A-Z]", "", sent[:_MAX_COMPARED].upper()).removeprefix("HITTYPE")
    by_letters = {name.replace("_", ""): name for name in _TYPES}
    near = get_close_matches(plain, by_letters, n=1)
    return _PREFIX + by_letters[near[0]] if near else f"one of {', '.join(_PREFIX + name for name in _TYPES)}"


def _wrong_field(fields: Mapping[str, Any], kind: Descriptor, path: str) -> Wrong | None:
    for name, value in fields.items():
        field = _field(kind, name)
        if field is not None and not _parses(kind, {name: value}):
            return _wrong_value(field, value, f"{path}{name}")
    return None


def _wrong_value(field: FieldDescriptor, value: Any, path: str) -> Wrong:
    """Return the fault in a value that is not valid for the given field."""
    if not field.is_repeated:
        return _wrong_single(field, value, path)
    entry = field.message_type
    is_map = entry is not None and entry.GetOptions().map_entry
    if not isinstance(value, dict if is_map else list):
        return Wrong(path, f"{path} is {_shown(value)}: write {'an object' if is_map else 'a list'}")
    assert field.containing_type is not None, "a field of a message"
    for key, part in _parts(value):
        if _parses(field.containing_type, {field.name: {key: part} if is_map else [part]}):
            continue
        if not is_map:
            return _wrong_single(field, part, f"{path}[{key}]")
        assert entry is not None, "a map has entries"
        found = _wrong_single(entry.fields_by_name["value"], part, f"{path}[{_shown(key)}]")
        return Wrong(path, found.message)
    return Wrong(path, f"{path} is {_shown(value)}: compare the value with this field of hitmesh.api.hit.v1.Hit")


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(value.items() if isinstance(value, dict) else enumerate(value))


def _wrong_single(field: FieldDescriptor, value: Any, path: str) -> Wrong:
    kind = field.message_type
    is_time = kind is not None and kind.full_name == "google.protobuf.Timestamp"
    if kind is not None and not is_time and isinstance(value, dict):
        found = _wrong_field(value, kind, f"{path}.")
        return found or Wrong(path, f"{path} has mutually exclusive fields: send only one field")
    return Wrong(path, f"{path} is {_shown(value)}: {_A_TIME if is_time else _rule(field)}")


def _rule(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return f"use one of {', '.join(each.name for each in field.enum_type.values if each.number)}"
    return _RULES[field.cpp_type]


def _field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    return kind.fields_by_camelcase_name.get(name) or kind.fields_by_name.get(name)


def _parses(kind: Descriptor, fields: dict[str, Any]) -> bool:
    try:
        message = GetMessageClass(kind)()
        json_format.ParseDict(fields, message, ignore_unknown_fields=True, max_recursion_depth=MAX_NESTING)
        message.SerializeToString()
    except Broken:
        return False
    return True


def _shown(value: Any) -> str:
    return shown(value) if isinstance(value, str) else shown(_Json(json.dumps(value)))


class _Json(str):
    """A JSON text. Messages show the JSON text unchanged, because its control characters are already escaped."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
