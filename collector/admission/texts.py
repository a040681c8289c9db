"""Stores a string column as distinct values. Each string is checked once for all hits that contain the string.

A string that is too long is cut. A hit whose string contains U+0000 is refused. The distinct values are in an Arrow
array, because an Arrow array can be examined without a query engine. For thousands of short columns, starting the query
engine would be slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from collector.admission.verdicts import Verdicts, shown
from hitmesh.model.arrays import BoolArray, I32Array
from hitmesh.model.reasons import HitReason

_NUL: Final = 0
# An identifier that is too long is cut. The stored text ends in "~" and the identifier's hash in 32 hex digits.
# Distinct identifiers thus stay distinct.
_HASH_BYTES: Final = 16
_HASH_ENDING_BYTES: Final = 1 + 2 * _HASH_BYTES
# Matches control characters, line separators and paragraph separators. Control characters can change a terminal's
# state; separators end a line.
_CONTROLS: Final = r"[\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]"
_CONTROLS_OF_PYTHON: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Texts:
    """A string column: its distinct values, and each row's index (code) into these values. The value "" means not set.

    After `or_else`, two codes may stand for the same value.
    """

    values: pa.StringArray
    codes: I32Array

    @classmethod
    def of(cls, column: pa.StringArray, *, mostly_distinct: bool = False) -> Texts | None:
        """Return the column, or None when every row is empty. The array must have no nulls.

        If `mostly_distinct` is true, equal values are not merged, because few values are expected to be equal.
        """
        if not len(column) or not byte_lengths(column).any():
            return None
        if mostly_distinct:
            return cls(column, np.arange(len(column), dtype=np.int32))
        coded = column.dictionary_encode()
        return cls(coded.dictionary, coded.indices.to_numpy(zero_copy_only=True))

    @classmethod
    def constant(cls, values: Sequence[str], codes: I32Array) -> Texts:
        """Return the column in which row i has the value values[codes[i]]."""
        return cls(pa.array(values, pa.string()), codes)

    def rows(self, positions: npt.NDArray[np.integer]) -> Texts:
        """Return the rows at the given positions, in this order."""
        return Texts(self.values, self.codes[positions])

    def scattered(self, rows: npt.NDArray[np.integer], height: int) -> Texts:
        """Return a column with `height` rows.

        The given rows get this column's values in order; all other rows get "".
        """
        codes = np.zeros(height, dtype=np.int32)
        codes[rows] = self.codes + 1
        return Texts(pa.concat_arrays([pa.array([""], pa.string()), self.values]), codes)

    def is_set(self) -> BoolArray:
        """Return whether each row has a value."""
        present: BoolArray = (byte_lengths(self.values) > 0)[self.codes]
        return present

    def or_else(self, other: Texts) -> Texts:
        """Return this column. A row that is empty gets its value from `other`."""
        codes = np.where(self.is_set(), self.codes, other.codes + np.int32(len(self.values)))
        return Texts(pa.concat_arrays([self.values, other.values]), codes.astype(np.int32, copy=False))

    def value(self, row: int) -> str:
        """Return the value in a row."""
        return str(self.values[int(self.codes[row])].as_py())

    def among(self, wanted: Callable[[str], bool]) -> BoolArray:
        """Return whether each row satisfies the predicate. The predicate is called once per distinct value."""
        each = np.fromiter(map(wanted, self.values.to_pylist()), dtype=np.bool_, count=len(self.values))
        found: BoolArray = each[self.codes]
        return found

    def column(self, name: str, rows: npt.NDArray[np.integer]) -> pl.Series:
        """Return the values at `rows` as a String series, in which empty values are null."""
        return picked(pl.Series(name, _null_if_empty(self.values)), self.codes[rows])


def byte_lengths(column: pa.StringArray | pa.BinaryArray) -> I32Array:
    """Return each value's length in UTF-8 bytes."""
    offsets = _offsets(column)
    return offsets[1:] - offsets[:-1]


def picked(values: pl.Series, positions: npt.NDArray[np.integer]) -> pl.Series:
    """Return the values at the given positions, which must not be negative."""
    return values[pl.Series(positions.astype(np.uint32))]


def limited(texts: Texts, field: str, max_bytes: int, verdicts: Verdicts, *, identifies: bool = False) -> Texts:
    """Refuse rows whose value contains U+0000, which no store accepts. Cut values that are too long.

    A value is cut at a character boundary, and its rows get a warning. If `identifies` is true, a hash of the whole
    value replaces the end that is cut off. Distinct values thus stay distinct.
    """
    refuse_nul(texts, field, verdicts)
    sizes = byte_lengths(texts.values)
    long = np.flatnonzero(sizes > max_bytes)
    if not len(long):
        return texts
    verdicts.warn(
        (sizes > max_bytes)[texts.codes],
        HitReason.TRUNCATED,
        field,
        lambda row: (
            f"{field} {shown(texts.value(row))} has {sizes[texts.codes[row]]:,} bytes; the limit is {max_bytes:,}: "
            + ("a hash has replaced the end of the value" if identifies else "the value was cut")
            + "; send a shorter value"
        ),
    )
    values = texts.values.to_pylist()
    for at in long.tolist():
        values[at] = shortened(values[at], max_bytes) if identifies else _cut(values[at], max_bytes)
    return Texts(pa.array(values, pa.string()), texts.codes)


def has_control(text: str) -> bool:
    """Return whether a text holds a control character, a line separator or a paragraph separator."""
    return _CONTROLS_OF_PYTHON.search(text) is not None


def without_controls(text: str) -> str:
    """Replace each run of control characters and separators with a blank, then strip the text."""
    return _CONTROLS_OF_PYTHON.sub(" ", text).strip()


def cleaned(texts: Texts) -> Texts:
    """Return the column with `without_controls` applied to every value."""
    at_fault = np.flatnonzero(np.asarray(pc.match_substring_regex(texts.values, _CONTROLS)))
    if not len(at_fault):
        return texts
    values = texts.values.to_pylist()
    for at in at_fault.tolist():
        values[at] = without_controls(values[at])
    return Texts(pa.array(values, pa.string()), texts.codes)


def refuse_nul(texts: Texts, field: str, verdicts: Verdicts) -> None:
    """Refuse rows whose value contains U+0000."""
    offsets = _offsets(texts.values)
    content = np.frombuffer(texts.values.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    nuls = np.flatnonzero(content == _NUL)
    if not len(nuls):
        return
    with_nul = np.zeros(len(texts.values), dtype=np.bool_)
    with_nul[np.searchsorted(offsets - offsets[0], nuls, side="right") - 1] = True
    verdicts.refuse(
        with_nul[texts.codes],
        HitReason.INVALID_FIELD,
        field,
        lambda row: (
            f"{field} {shown(texts.value(row))} holds the character U+0000, which cannot be stored: leave out this "
            "character"
        ),
    )


def _null_if_empty(values: pa.StringArray) -> pa.StringArray:
    present = byte_lengths(values) > 0
    if present.all():
        return values
    _, offsets, content = values.buffers()
    bitmap = pa.py_buffer(np.packbits(present, bitorder="little"))
    if values.offset:
        offsets = pa.py_buffer(_offsets(values).copy())
    return pa.StringArray.from_buffers(len(values), offsets, content, bitmap)


def _offsets(column: pa.StringArray | pa.BinaryArray) -> I32Array:
    buffer = column.buffers()[1]
    if buffer is None:
        return np.zeros(1, dtype=np.int32)
    return np.frombuffer(buffer, np.int32)[column.offset : column.offset + len(column) + 1]


def _cut(value: str, max_bytes: int) -> str:
    return value.encode()[:max_bytes].decode(errors="ignore")


def shortened(value: str, max_bytes: int) -> str:
    """Return an identifier that has at most `max_bytes` bytes.

    If the identifier is longer, a hash of the whole identifier replaces the end. The hash replaces the text
    permanently, so the hash must resist collisions (rule D0). With BLAKE2b-128, nobody can find a collision.
    """
    encoded = value.encode()
    if len(encoded) <= max_bytes:
        return value
    ending = blake2b(encoded, digest_size=_HASH_BYTES).hexdigest()
    return f"{_cut(value, max_bytes - _HASH_ENDING_BYTES)}~{ending}"
