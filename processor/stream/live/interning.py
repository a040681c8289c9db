"""Maps texts and tuples of texts to numbers (journey step 5). Open visits therefore contain only numbers.

Equal texts get the same code. Equal tuples get the same number. The code 0 stands for null. Codes and numbers are valid
within one state only. A hash finds known texts that may be equal. Texts are equal if their bytes are equal. Tuples are
equal if their codes are equal (rule D0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.rows.rollup_rows import with_escaped_names
from hitmesh.model.rows.row_digest import NOT_SET_HASH, RowDigest
from processor.stream.live.exact_index import HASH_BITS, ExactIndex, seed

NULL: Final = 0
FEW_ROWS: Final = 256
"""Up to this number of rows, all texts are compared at once, which costs less than a comparison per column."""
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)


class Texts:
    """Texts by code.

    Each text has a name that is used in rows, and a hash of this name. In the name, reserved words are escaped (see
    rollup_rows).

    Args:
        texts: the texts with the codes 1, 2, …; they must be distinct and not null.
        digest: computes the hashes of names. hash_bits: as for ExactIndex.
    """

    def __init__(
        self, texts: pl.Series | None = None, digest: RowDigest | None = None, hash_bits: int = HASH_BITS
    ) -> None:
        self._digest = digest or RowDigest()
        self._texts = pl.Series([None], dtype=pl.String)
        self._names = pl.Series([None], dtype=pl.String)
        self._name_hashes = np.full(1, NOT_SET_HASH, np.uint64)
        self._index = ExactIndex(hash_bits)
        self._seed = seed()
        if texts is not None:
            self._append(texts)
            self._index.add(self._hashes(texts), np.arange(1, len(self)))

    def __len__(self) -> int:
        return len(self._texts)

    def all(self) -> pl.Series:
        """Return all texts in the order of their codes, starting with code 1."""
        return self._texts.slice(1).alias("text")

    def codes(self, texts: pl.Series) -> I32Array:
        """Return each text's code (n,). New texts get the next codes. The code of null is NULL."""
        codes = np.full(len(texts), NULL, np.int32)
        nulls = texts.null_count()
        if nulls == len(texts):
            return codes
        there = texts.drop_nulls() if nulls else texts

        def are_equal(places: I64Array | None, numbers: I64Array) -> BoolArray:
            equal: BoolArray = (self.texts(numbers) == (there if places is None else there.gather(places))).to_numpy()
            return equal

        found = self._index.numbers(self._hashes(there), are_equal, lambda places: self._append(there.gather(places)))
        codes[texts.is_not_null().to_numpy() if nulls else slice(None)] = found
        return codes

    def texts(self, codes: npt.NDArray[np.integer]) -> pl.Series:
        """Return each code's text (n,)."""
        if self._texts.n_chunks() > 1:
            self._texts = self._texts.rechunk()
        return self._texts[codes.astype(np.uint32)]

    def names(self, codes: npt.NDArray[np.integer]) -> pl.Series:
        """Return each code's name in rows (n,)."""
        if self._names.n_chunks() > 1:
            self._names = self._names.rechunk()
        return self._names[codes.astype(np.uint32)]

    def name_hashes(self, codes: npt.NDArray[np.integer]) -> U64Array:
        """Return RowDigest.texts for each code's name in rows (n,)."""
        hashes: U64Array = self._name_hashes[codes]
        return hashes

    def _hashes(self, texts: pl.Series) -> U64Array:
        return texts.hash(self._seed).to_numpy()

    def _append(self, texts: pl.Series) -> I64Array:
        """Assign the next codes to new texts. Return these codes."""
        names = with_escaped_names(texts.alias("text").to_frame())["text"]
        codes = len(self) + np.arange(len(texts))
        self._texts, self._names = self._texts.append(texts), self._names.append(names)
        self._name_hashes = np.concatenate([self._name_hashes, self._digest.texts(names)])
        return codes


class Tuples:
    """Numbered tuples of `width` text codes. Number 0 is the tuple that contains only nulls.

    Args:
        codes: (n, width) the distinct tuples with the numbers 0 to n − 1. The first tuple contains only NULL.
        hash_bits: as for ExactIndex.
    """

    def __init__(self, width: int, codes: I32Array | None = None, hash_bits: int = HASH_BITS) -> None:
        self._width = width
        self._codes = np.zeros((1, width), np.int32) if codes is None else codes
        self._count = len(self._codes)
        self._seed = np.uint64(seed())
        self._index = ExactIndex(hash_bits)
        self._index.add(self._hashes(self._codes), np.arange(self._count))

    def __len__(self) -> int:
        return self._count

    def all(self) -> I32Array:
        """Return all tuples as codes (n, width), in the order of their numbers."""
        return self._codes[: self._count]

    def numbers(self, codes: I32Array) -> I32Array:
        """Return each tuple's number. The tuples are given as `codes` (n, width). New tuples get the next numbers."""

        def are_equal(places: I64Array | None, numbers: I64Array) -> BoolArray:
            equal: BoolArray = (self._codes[numbers] == (codes if places is None else codes[places])).all(axis=1)
            return equal

        found = self._index.numbers(self._hashes(codes), are_equal, lambda places: self._append(codes[places]))
        return found.astype(np.int32)

    def codes(self, numbers: npt.NDArray[np.integer]) -> I32Array:
        """Return the tuples with the given numbers, as codes (n, width)."""
        found: I32Array = self._codes[numbers]
        return found

    def _append(self, codes: I32Array) -> I64Array:
        """Assign the next numbers to new tuples. Return these numbers."""
        begin, end = self._count, self._count + len(codes)
        if end > len(self._codes):
            grown = np.zeros((2 * end, self._width), np.int32)
            grown[:begin] = self._codes[:begin]
            self._codes = grown
        self._codes[begin:end] = codes
        self._count = end
        return np.arange(begin, end)

    def _hashes(self, codes: I32Array) -> U64Array:
        hashes = np.full(len(codes), self._seed, np.uint64)
        for place in range(self._width):
            hashes = (hashes ^ codes[:, place].astype(np.uint64)) * _STEP
            hashes ^= hashes >> np.uint64(32)
        return hashes * _MIX


def _column_by_column(rows: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return all rows' texts as a single series, column by column, beginning with all texts in the first column."""
    return pl.concat([rows[name] for name in columns])


def are_all_equal(texts: pl.Series, others: pl.Series) -> bool:
    """Return whether the two texts of each pair are equal (n,). Null equals null."""
    equal = texts == others  # `==` gives null if either text is null
    return texts.null_count() == others.null_count() == equal.null_count() and equal.all()


def _is_constant(texts: pl.Series) -> bool:
    """Return whether all texts (n,), n > 0, are equal. Null equals null."""
    if texts.null_count():
        return texts.null_count() == len(texts)
    return texts[0] == texts[-1] and bool((texts == texts[0]).all())


class Interned:
    """Assigns numbers to texts, and to tuples of texts in named columns.

    Args:
        columns: the column names.
        texts: as for Texts.
        codes: as for Tuples.
        digest: hashes the names in rows.
        hash_bits: as for ExactIndex.
        few_rows: as FEW_ROWS.
    """

    def __init__(
        self,
        columns: Sequence[str],
        texts: pl.Series | None = None,
        codes: I32Array | None = None,
        digest: RowDigest | None = None,
        hash_bits: int = HASH_BITS,
        few_rows: int = FEW_ROWS,
    ) -> None:
        self._few_rows = few_rows
        self.columns = tuple(columns)
        self.digest = digest or RowDigest()
        self.hash_bits = hash_bits
        self._begin(texts, codes)

    def with_value(self, numbers: I32Array, column: str, codes: I32Array) -> I32Array:
        """Replace the codes in one column. Return the numbers of the resulting tuples."""
        tuples = self.tuples.codes(numbers).copy()
        tuples[:, self.columns.index(column)] = codes
        return self.tuples.numbers(tuples)

    def numbers(self, rows: pl.DataFrame) -> I32Array:
        """Return each row's tuple number (n,)."""
        values = rows[list(self.columns)]
        hashes = values.hash_rows(self._seed).to_numpy()

        def are_equal(places: I64Array | None, numbers: I64Array) -> BoolArray:
            return self._are(numbers, values if places is None else values[places])

        return self._seen.numbers(hashes, are_equal, lambda places: self._new_numbers(values[places])).astype(np.int32)

    def _begin(self, texts: pl.Series | None = None, codes: I32Array | None = None) -> None:
        self.texts = Texts(texts, self.digest, self.hash_bits)
        self.tuples = Tuples(len(self.columns), codes, self.hash_bits)
        self._seen, self._seed = ExactIndex(self.hash_bits), seed()  # rows whose tuple already has a number

    def _are(self, numbers: I64Array, rows: pl.DataFrame) -> BoolArray:
        """Return whether each row equals the tuple that its entry in `numbers` selects (n,), n > 0.

        If all rows have the same text (or null) in a column, only one text of the column is compared.
        """
        codes = self.tuples.codes(numbers)
        if len(numbers) <= self._few_rows and are_all_equal(
            self.texts.texts(codes.T.ravel()), _column_by_column(rows, self.columns)
        ):
            return np.ones(len(numbers), np.bool_)
        differ = [
            (known, sent)
            for known, sent in self._to_compare(codes, rows)
            if not are_all_equal(known, sent)  # this happens only if two tuples share a hash, which is extremely rare
        ]
        same = np.ones(len(numbers), np.bool_)
        for known, sent in differ:
            same &= pl.select(known.eq_missing(sent)).to_series().to_numpy()
        return same

    def _to_compare(self, codes: I32Array, rows: pl.DataFrame) -> Iterator[tuple[pl.Series, pl.Series]]:
        """Yield two lists of texts per column: the texts that `codes` (n, width) represent, and the texts in `rows`.

        If all rows have the same value in a column, yield only the first text of each list.
        """
        for place, name in enumerate(self.columns):
            of_column, sent = np.ascontiguousarray(codes[:, place]), rows[name]
            is_constant = (of_column == of_column[0]).all() and _is_constant(sent)
            yield (self.texts.texts(of_column[:1]), sent[:1]) if is_constant else (self.texts.texts(of_column), sent)

    def _new_numbers(self, rows: pl.DataFrame) -> I32Array:
        # All columns are looked up together. Each lookup has a fixed cost, and a window has few new tuples.
        codes = self.texts.codes(_column_by_column(rows, self.columns)).reshape(len(self.columns), rows.height)
        return self.tuples.numbers(np.ascontiguousarray(codes.T))

    def names(
        self, numbers: npt.NDArray[np.integer], columns: Sequence[str]
    ) -> tuple[list[pl.Series], dict[str, U64Array]]:
        """Return the texts in the given columns of each tuple. Also return the RowDigest.texts of these texts."""
        codes = self.tuples.codes(numbers)
        of_columns = {name: np.ascontiguousarray(codes[:, self.columns.index(name)]) for name in columns}
        names = [self.texts.names(of_column).alias(name) for name, of_column in of_columns.items()]
        return names, {name: self.texts.name_hashes(of_column) for name, of_column in of_columns.items()}

    def keep_only(self, numbers: I32Array, codes: I32Array) -> tuple[I32Array, I32Array]:
        """Keep only the tuples with the given numbers, the texts of these tuples, and the texts with the given codes.

        Return a new number for each given number, and a new code for each given code.
        """
        used, of_tuple = np.unique(numbers, return_inverse=True)
        tuples = self.tuples.codes(used)
        kept, of_code = np.unique(np.concatenate([[NULL], tuples.ravel(), codes]), return_inverse=True)
        texts = self.texts.texts(kept)
        self._begin()
        renamed = self.texts.codes(texts)[of_code]
        split = 1 + tuples.size
        renumbered = self.tuples.numbers(renamed[1:split].reshape(tuples.shape))
        return renumbered[of_tuple], renamed[split:]
