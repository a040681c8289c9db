"""Texts and tuples of texts as numbers (step 5 of the journey), so that an open visit takes bytes, not strings.

Decides that equal texts get one code and equal tuples one number, and that 0 is null; codes mean something within one
state only. Texts are told apart by hash64, tuples by a hash of their codes: 64 bits each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.keys import hash64_column
from hitmesh.rollup_rows import with_escaped_names
from hitmesh.row_digest import NOT_SET_HASH
from processor.live.hash_index import MISSING, HashIndex

U64Array = npt.NDArray[np.uint64]
I64Array = npt.NDArray[np.int64]
I32Array = npt.NDArray[np.int32]

NULL: Final = 0
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)


class _Seen:
    """Values that were numbered before, by a hash of Polars.

    It is ten times cheaper than hash64, and means nothing outside of this process.
    """

    def __init__(self) -> None:
        self._index = HashIndex()

    def numbers(self, hashes: pl.Series, new: Callable[[I64Array], I32Array]) -> I32Array:
        """Return the number of each value (n,).

        Args:
            hashes: of the values (n,).
            new: returns the numbers of values that were not seen, given one place of each.
        """
        keys = hashes.to_numpy() * _STEP  # the upper bits say where a key stands
        known = self._index.find(keys)
        missing = known == MISSING
        if missing.any():
            fresh, first = np.unique(keys[missing], return_index=True)
            self._index.add(fresh, new(np.flatnonzero(missing)[first]).astype(np.int64))
            known[missing] = self._index.find(keys[missing])
        return known.astype(np.int32)


class Texts:
    """Texts by code, and what stands for them in rows: reserved words escaped (hitmesh.rollup_rows), and its hash64.

    Args:
        texts: those of codes 1, 2, …, distinct, none null.
    """

    def __init__(self, texts: pl.Series | None = None) -> None:
        self._texts = pl.Series([None], dtype=pl.String)
        self._names = pl.Series([None], dtype=pl.String)
        self._name_hashes = np.full(1, NOT_SET_HASH, np.uint64)
        self._index = HashIndex()
        self._seen = _Seen()
        if texts is not None:
            self._append(texts, hash64_column(texts).to_numpy())

    def __len__(self) -> int:
        return len(self._texts)

    def all(self) -> pl.Series:
        """Return the texts, that of code 1 first."""
        return self._texts.slice(1).alias("text")

    def codes(self, texts: pl.Series) -> I32Array:
        """Return the code of each text (n,); new ones get the next codes, null gets NULL."""
        return self._seen.numbers(texts.hash(), lambda places: self._new_codes(texts.gather(places)))

    def _new_codes(self, texts: pl.Series) -> I32Array:
        """Return the code of each text, of some that are distinct."""
        hashes = hash64_column(texts).fill_null(0).to_numpy()
        known = self._index.find(hashes)
        missing = (known == MISSING) & texts.is_not_null().to_numpy()
        if missing.any():
            self._append(texts.filter(pl.Series(missing)), hashes[missing])
            known[missing] = self._index.find(hashes[missing])
        known[known == MISSING] = NULL
        return known.astype(np.int32)

    def texts(self, codes: npt.NDArray[np.integer]) -> pl.Series:
        """Return the text of each code (n,)."""
        if self._texts.n_chunks() > 1:
            self._texts = self._texts.rechunk()
        return self._texts.gather(codes.astype(np.uint32))

    def names(self, codes: npt.NDArray[np.integer]) -> pl.Series:
        """Return what stands for each code in rows (n,)."""
        if self._names.n_chunks() > 1:
            self._names = self._names.rechunk()
        return self._names.gather(codes.astype(np.uint32))

    def name_hashes(self, codes: npt.NDArray[np.integer]) -> U64Array:
        """Return hash64 of what stands for each code in rows (n,), NOT_SET_HASH for null."""
        hashes: U64Array = self._name_hashes[codes]
        return hashes

    def _append(self, texts: pl.Series, hashes: U64Array) -> None:
        """Give texts, whose hashes are not there, the next codes."""
        names = with_escaped_names(texts.alias("text").to_frame())["text"]
        is_same = names.eq(texts).all()
        name_hashes = hashes if is_same else hash64_column(names).to_numpy()
        self._index.add(hashes, len(self) + np.arange(len(texts)))
        self._texts, self._names = self._texts.append(texts), self._names.append(names)
        self._name_hashes = np.concatenate([self._name_hashes, name_hashes])


class Tuples:
    """Tuples of `width` text codes, by number; number 0 is the tuple of nulls.

    Args:
        codes: (n, width) those of numbers 0, 1, …, distinct, the first one all NULL.
    """

    def __init__(self, width: int, codes: I32Array | None = None) -> None:
        self._width = width
        self._codes = np.zeros((1, width), np.int32) if codes is None else codes
        self._count = len(self._codes)
        self._index = HashIndex(self._count)
        self._index.add(_hashes(self._codes), np.arange(self._count))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """How much memory the codes and their index take."""
        return self._codes.nbytes + self._index.nbytes

    def all(self) -> I32Array:
        """Return the codes of all numbers (n, width)."""
        return self._codes[: self._count]

    def numbers(self, codes: I32Array) -> I32Array:
        """Return the number of each tuple (n, width); new ones get the next numbers."""
        hashes = _hashes(codes)
        known = self._index.find(hashes)
        missing = known == MISSING
        if missing.any():
            fresh, first = np.unique(hashes[missing], return_index=True)
            self._index.add(fresh, self._count + np.arange(len(fresh)))
            self._append(codes[missing][first])
            known[missing] = self._index.find(hashes[missing])
        return known.astype(np.int32)

    def codes(self, numbers: npt.NDArray[np.integer]) -> I32Array:
        """Return the codes (n, width) of tuples."""
        found: I32Array = self._codes[numbers]
        return found

    def _append(self, codes: I32Array) -> None:
        end = self._count + len(codes)
        if end > len(self._codes):
            grown = np.zeros((2 * end, self._width), np.int32)
            grown[: self._count] = self._codes[: self._count]
            self._codes = grown
        self._codes[self._count : end] = codes
        self._count = end


class Interned:
    """Texts, and tuples of the named columns of them."""

    def __init__(self, columns: Sequence[str], texts: pl.Series | None = None, codes: I32Array | None = None) -> None:
        self.columns = tuple(columns)
        self.texts = Texts(texts)
        self.tuples = Tuples(len(columns), codes)
        self._seen = _Seen()

    def with_value(self, numbers: I32Array, column: str, codes: I32Array) -> I32Array:
        """Return the numbers of these tuples with another value in one column."""
        tuples = self.tuples.codes(numbers).copy()
        tuples[:, self.columns.index(column)] = codes
        return self.tuples.numbers(tuples)

    def numbers(self, rows: pl.DataFrame) -> I32Array:
        """Return the number of each row's tuple."""
        own = rows.select(self.columns)
        return self._seen.numbers(own.hash_rows(), lambda places: self._new_numbers(own[places]))

    def _new_numbers(self, rows: pl.DataFrame) -> I32Array:
        codes = np.empty((rows.height, len(self.columns)), np.int32)
        for place, name in enumerate(self.columns):
            codes[:, place] = self.texts.codes(rows[name])
        return self.tuples.numbers(codes)

    def names(
        self, numbers: npt.NDArray[np.integer], columns: Sequence[str]
    ) -> tuple[list[pl.Series], dict[str, U64Array]]:
        """Return these columns of each tuple as they stand in rows, and their hash64, NOT_SET_HASH for null."""
        codes = self.tuples.codes(numbers)
        of_columns = {name: np.ascontiguousarray(codes[:, self.columns.index(name)]) for name in columns}
        names = [self.texts.names(of_column).alias(name) for name, of_column in of_columns.items()]
        return names, {name: self.texts.name_hashes(of_column) for name, of_column in of_columns.items()}

    def keep_only(self, numbers: I32Array, codes: I32Array) -> tuple[I32Array, I32Array]:
        """Forget what is not among these tuples and codes; return those of them that now stand for each."""
        used, of_tuple = np.unique(numbers, return_inverse=True)
        tuples = self.tuples.codes(used)
        kept, of_code = np.unique(np.concatenate([[NULL], tuples.ravel(), codes]), return_inverse=True)
        texts = self.texts.texts(kept)
        self.texts, self.tuples, self._seen = Texts(), Tuples(len(self.columns)), _Seen()
        renamed = self.texts.codes(texts)[of_code]
        split = 1 + tuples.size
        renumbered = self.tuples.numbers(renamed[1:split].reshape(tuples.shape))
        return renumbered[of_tuple], renamed[split:]


def _hashes(codes: I32Array) -> U64Array:
    hashes = np.full(len(codes), _MIX, np.uint64)
    for place in range(codes.shape[1]):
        hashes = (hashes ^ codes[:, place].astype(np.uint64)) * _STEP
        hashes ^= hashes >> np.uint64(32)
    return hashes * _MIX
