"""Test that texts and tuples get distinct numbers although their hashes collide (rule D0).

The collisions come from known texts with equal hashes, or from shortened hashes.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hitmesh.model.keys import hash64
from processor.stream.live.exact_index import ExactIndex
from processor.stream.live.interning import NULL, Interned, Texts, Tuples
from tests.support.twins import TWINS

BITS = (0, 1, 3, 64)


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: twins[0])
def test_golden_twins_have_one_hash_and_codes_of_their_own(twins: tuple[str, ...]) -> None:
    assert len({hash64(text) for text in twins}) == 1
    texts = Texts()
    assert texts.codes(pl.Series(twins)).tolist() == list(range(1, len(twins) + 1))
    assert texts.texts(texts.codes(pl.Series(twins[::-1]))).to_list() == list(twins[::-1])


@pytest.mark.parametrize("bits", BITS)
def test_texts_with_one_hash_are_distinguished_by_their_bytes(bits: int) -> None:
    words = pl.Series([f"text {number % 60}" if number % 7 else None for number in range(200)])
    texts = Texts(hash_bits=bits)
    first = texts.codes(words[:90])
    codes = np.concatenate([first, texts.codes(words[90:])])
    assert texts.texts(codes).to_list() == words.to_list()
    assert len(texts) == 1 + words.drop_nulls().n_unique()
    assert (codes == NULL).tolist() == words.is_null().to_list()
    again = Texts(texts.all(), hash_bits=bits)
    assert (again.codes(words) == codes).all()


@pytest.mark.parametrize("bits", BITS)
def test_tuples_with_one_hash_are_distinguished_by_their_codes(bits: int) -> None:
    codes = np.array([[number % 5, number % 3, 0] for number in range(40)], np.int32)
    tuples = Tuples(3, hash_bits=bits)
    numbers = np.concatenate([tuples.numbers(codes[:10]), tuples.numbers(codes[10:])])
    assert (tuples.codes(numbers) == codes).all()
    assert len(tuples) == 15
    again = Tuples(3, tuples.all().copy(), hash_bits=bits)
    assert (again.numbers(codes) == numbers).all()


@pytest.mark.parametrize("bits", BITS)
def test_rows_with_one_hash_are_distinguished_by_their_texts(bits: int) -> None:
    rows = pl.DataFrame(
        {
            "one": [f"text {number % 4}" if number % 3 else None for number in range(60)],
            "two": [f"text {number % 3}" for number in range(60)],
            "three": [None] * 30 + ["text 1"] * 30,
        },
        schema_overrides={"three": pl.String},
    )
    interned = Interned(rows.columns, hash_bits=bits)
    numbers = np.concatenate([interned.numbers(rows[:20]), interned.numbers(rows[20:]), interned.numbers(rows[:20])])
    names, _ = interned.names(numbers, rows.columns)
    assert pl.DataFrame(names).equals(pl.concat([rows, rows[:20]]))
    assert len(set(numbers.tolist())) == rows.n_unique()
    kept, _ = interned.keep_only(numbers[:7], np.array([NULL], np.int32))
    names, _ = interned.names(kept, rows.columns)
    assert pl.DataFrame(names).equals(rows[:7])
    assert (interned.numbers(rows[:7]) == kept).all()


def test_numbers_are_given_in_the_order_of_the_values_whatever_their_hashes() -> None:
    values = np.array([9, 4, 9, 7, 4, 1])
    known: list[int] = []

    def new(places: np.ndarray) -> np.ndarray:
        known.extend(values[places].tolist())
        return np.arange(len(known) - len(places), len(known))

    index = ExactIndex()
    hashes = values.astype(np.uint64) * np.uint64(0xDEADBEEF12345671)
    found = index.numbers(
        hashes, lambda places, n: np.array(known)[n] == values[slice(None) if places is None else places], new
    )
    assert known == [9, 4, 7, 1]
    assert found.tolist() == [0, 1, 0, 2, 1, 3]
