"""Checks a hit's properties: key-value pairs that are stored as received. The site chooses the property keys.

Decides how many properties are accepted, and how long a key or value may be. The site defines the meaning of its
properties.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from collector.admission.texts import Texts, byte_lengths, limited
from collector.admission.verdicts import Verdicts, shown
from collector.wire import MessageReader, Undecodable
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.reasons import HitReason

MAX_PROPERTIES: Final = 30
MAX_KEY_BYTES: Final = 64
MAX_STRING_BYTES: Final = 500


@cache
def _reader() -> MessageReader:
    return MessageReader(hit_pb2.Hit.PropertiesEntry.DESCRIPTOR)


def read_properties(entries: pa.ListArray, verdicts: Verdicts) -> pl.Series | None:
    """Return each hit's property entries as bytes, or null for a hit without properties.

    Return None if no hit has properties. A string that is too long is cut in the returned bytes.
    """
    if not len(entries.values):
        return None
    starts = entries.offsets.to_numpy()
    counts = np.diff(starts)
    verdicts.refuse(
        counts > MAX_PROPERTIES,
        HitReason.INVALID_FIELD,
        "properties",
        lambda row: f"the hit has {counts[row]} properties; the limit is {MAX_PROPERTIES}: send fewer",
    )
    each = verdicts.among(np.repeat(np.arange(len(entries)), counts))
    kept = _checked(entries.values, each)
    offsets = pa.array(starts - starts[0], pa.int32())
    return pl.Series("properties", pa.ListArray.from_arrays(offsets, kept, mask=pa.array(counts == 0)))


def _checked(entries: pa.BinaryArray, verdicts: Verdicts) -> pa.BinaryArray:
    """Return the entries, with long strings cut. Position i in `verdicts` stands for the hit that contains entry i."""
    try:
        decoded = _reader().read(entries, sound=True)  # `is_sound` has already checked the whole batch
    except Undecodable:
        messages = entries.to_pylist()
        broken = np.zeros(len(messages), dtype=np.bool_)
        broken[_reader().undecodable(messages)] = True
        message = "a property does not decode: its strings must be UTF-8, and its bytes a valid message"
        verdicts.refuse(broken, HitReason.DECODE, "properties", message)
        sound = [b"" if bad else entry for bad, entry in zip(broken, messages, strict=True)]
        entries = pa.array(sound, pa.binary())
        decoded = _reader().read(entries)
    _check_keys(decoded.column("key"), verdicts)
    return _with_short_strings(entries, decoded, verdicts)


def _check_keys(keys: pa.StringArray, verdicts: Verdicts) -> None:
    """Refuse empty and overlong keys. Keys are never cut, because cutting could make two keys equal."""
    sizes = byte_lengths(keys)
    verdicts.refuse(
        (sizes == 0) | (sizes > MAX_KEY_BYTES),
        HitReason.INVALID_FIELD,
        "properties",
        lambda at: (
            f"property key {shown(keys[at].as_py())} has {sizes[at]:,} bytes: send keys of 1 to {MAX_KEY_BYTES} bytes"
        ),
    )
    texts = Texts.of(keys)
    if texts is not None:
        limited(texts, "properties", 1 << 30, verdicts)


def _with_short_strings(entries: pa.BinaryArray, decoded: pa.RecordBatch, verdicts: Verdicts) -> pa.BinaryArray:
    strings = decoded.column("value").field("string_value").fill_null("")
    texts = Texts.of(strings)
    if texts is None:
        return entries
    short = limited(texts, "properties", MAX_STRING_BYTES, verdicts)
    if short is texts:
        return entries
    messages = entries.to_pylist()
    for at in np.flatnonzero(byte_lengths(strings) > MAX_STRING_BYTES).tolist():
        messages[at] = _entry(decoded.column("key")[at].as_py(), short.value(at))
    return pa.array(messages, pa.binary())


def _entry(key: str, value: str) -> bytes:
    hit = hit_pb2.Hit(properties={key: hit_pb2.PropertyValue(string_value=value)})
    return view_pb2.HitView.FromString(hit.SerializeToString()).properties[0]
