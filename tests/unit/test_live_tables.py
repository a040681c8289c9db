"""Test the tables in the stream's state: keys, ids, texts, tuples, timelines and kept hits."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import polars as pl
import pytest

from hitmesh.model.arrays import I32Array
from hitmesh.model.keys import timeline_keys, visitors_of
from hitmesh.model.rows.row_digest import RowDigest
from processor.stream.live.batch import hit_ids
from processor.stream.live.hash_index import MISSING, HashIndex
from processor.stream.live.id_filter import IdFilter
from processor.stream.live.interning import FEW_ROWS, NULL, Interned, Texts, Tuples
from processor.stream.live.kept import KEPT_COLUMNS, KeptHits
from processor.stream.live.limits import Limits
from processor.stream.live.visit_table import Timelines, VisitColumns
from processor.stream.spilled import SpillFiles


def some_keys(count: int, seed: int = 1) -> np.ndarray:
    return np.unique(np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64))


def test_index_finds_every_key_and_no_other() -> None:
    keys = some_keys(20_000)
    there, others = keys[::2], keys[1::2]
    index = HashIndex()
    for start in range(0, len(there), 777):
        part = there[start : start + 777]
        assert (index.find(part) == MISSING).all()
        index.add(part, start + np.arange(len(part)))
    assert (index.find(there) == np.arange(len(there))).all()
    assert (index.find(others) == MISSING).all()
    assert len(index) == len(there)


def test_index_distinguishes_keys_that_hash_to_the_same_slot() -> None:
    # The upper bits of a key choose the key's slot. All keys in this test belong to the last slot, so the search
    # continues in the first slot.
    keys = np.arange(2**64 - 500, 2**64, dtype=np.uint64)
    index = HashIndex()
    index.add(keys, np.arange(500))
    assert (index.find(keys) == np.arange(500)).all()


def test_filter_never_denies_an_added_id_and_forgets_epochs() -> None:
    ids = some_keys(30_000)
    first, second, never = ids[::3], ids[1::3], ids[2::3]
    seen = IdFilter()
    for start in range(0, len(first), 1_000):
        seen.add(first[start : start + 1_000], epoch=0)
    seen.add(second, epoch=1)
    assert seen.may_hold(first).all()
    assert seen.may_hold(second).all()
    assert seen.may_hold(never).mean() < 0.01
    seen.forget_before(1)
    assert seen.may_hold(second).all()
    assert seen.may_hold(first).mean() < 0.01


def test_equal_texts_have_one_code_and_null_has_its_own() -> None:
    texts = Texts()
    words = pl.Series(["a", None, "b", "a", "ü\n'\\", None])
    codes = texts.codes(words)
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 4
    assert codes[1] == codes[5] == NULL
    assert texts.texts(codes).to_list() == words.to_list()
    again = Texts(texts.all())
    assert (again.codes(words) == codes).all()


def shown(interned: Interned, numbers: I32Array) -> pl.DataFrame:
    names, hashes = interned.names(numbers, interned.columns)
    for name in names:
        assert (RowDigest().texts(name) == hashes[name.name]).all()
    return pl.DataFrame(names)


def test_texts_stand_in_rows_with_reserved_words_escaped() -> None:
    interned = Interned(("one",))
    numbers = interned.numbers(pl.DataFrame({"one": ["(other)", "other"]}))
    assert shown(interned, numbers).rows() == [("\\(other)",), ("other",)]
    assert sorted(interned.texts.all()) == ["(other)", "other"]


@pytest.mark.parametrize("hash_bits", [1, 64])
@pytest.mark.parametrize("few_rows", [0, 3, FEW_ROWS])
def test_tuples_keep_their_numbers_however_many_are_compared_at_once(few_rows: int, hash_bits: int) -> None:
    interned = Interned(("one", "two"), few_rows=few_rows, hash_bits=hash_bits)
    rows = pl.DataFrame({"one": ["a", None, "b", "a", "b"], "two": ["x", None, "x", "x", None]})
    first = interned.numbers(rows)
    assert first[0] == first[3]
    assert len(set(first.tolist())) == 4
    assert interned.numbers(rows).tolist() == first.tolist()
    assert interned.numbers(rows[[4, 2]]).tolist() == first[[4, 2]].tolist()
    assert shown(interned, first).equals(rows)


def test_equal_tuples_have_one_number_and_survive_tidying() -> None:
    interned = Interned(("one", "two"))
    rows = pl.DataFrame({"one": ["a", "a", None, "b"], "two": ["x", "x", None, None]})
    numbers = interned.numbers(rows)
    assert numbers[0] == numbers[1]
    assert numbers[2] == 0
    assert shown(interned, numbers).equals(rows)
    page = interned.texts.codes(pl.Series(["page"]))
    kept, codes = interned.keep_only(numbers[[3, 0]], page)
    assert shown(interned, kept).rows() == [("b", None), ("a", "x")]
    assert interned.texts.texts(codes).to_list() == ["page"]
    assert len(interned.tuples) == 3
    landed = interned.with_value(kept, "two", codes[[0, 0]])
    assert shown(interned, landed).rows() == [("b", "page"), ("a", "page")]


def test_tuples_are_the_same_after_they_were_stored() -> None:
    tuples = Tuples(3)
    numbers = tuples.numbers(np.array([[1, 2, 3], [1, 2, 4], [1, 2, 3]], np.int32))
    again = Tuples(3, tuples.all().copy())
    assert (again.numbers(tuples.codes(numbers)) == numbers).all()


def test_excluded_hits_are_a_timeline_of_their_own_and_share_the_ids_of_their_visitor() -> None:
    hashes = np.array([7, 7, 8], np.uint64)
    keys = timeline_keys(hashes, hashes, hashes, np.array([False, True, False]))
    assert keys[0] != keys[1]
    assert visitors_of(keys)[0] == visitors_of(keys)[1] != visitors_of(keys)[2]
    ids = hit_ids(keys, np.array([5, 5, 5], np.uint64))
    assert ids[0] == ids[1] != ids[2]


def test_timelines_keep_their_visits_when_others_go() -> None:
    timelines = Timelines()
    keys = some_keys(100)
    slots = timelines.add(keys)
    timelines.now.hits[slots] = np.arange(100)
    timelines.seen[slots] = np.arange(100)
    bases = VisitColumns.empty(100)
    bases.hits[:] = np.arange(100)
    timelines.set_bases(slots[::10], bases.take(np.arange(0, 100, 10)))
    timelines.keep_only(timelines.seen >= 50)
    assert (timelines.find(keys[:50]) == -1).all()
    left = timelines.find(keys[50:])
    assert (timelines.now.hits[left] == np.arange(50, 100)).all()
    with_base = left[::10]
    assert (timelines.bases.hits[timelines.base[with_base]] == np.arange(50, 100, 10)).all()
    assert len(timelines.bases) == 5


def kept_rows(keys: list[int], first_offset: int, log_time: int) -> pl.DataFrame:
    rows = [
        dict.fromkeys(KEPT_COLUMNS)
        | {"key": key, "offset": first_offset + number, "log_time": log_time, "page_path": f"/{key}\n'"}
        for number, key in enumerate(keys)
    ]
    return pl.DataFrame(rows, schema=KEPT_COLUMNS, orient="row")


@pytest.mark.parametrize("spill_rows", [10, 100_000])
def test_kept_hits_of_a_visitor_are_found_in_memory_and_in_files(tmp_path: Path, spill_rows: int) -> None:
    kept, dice = KeptHits(SpillFiles(tmp_path / "cache").spill, Limits(spill_rows=spill_rows)), Random(3)
    expected: dict[int, list[int]] = {}
    for number in range(40):
        keys = [dice.randrange(50) for _ in range(7)]
        kept.add(kept_rows(keys, number * 7, log_time=number), epoch=number // 10)
        for place, key in enumerate(keys):
            expected.setdefault(key & ~1, []).append(number * 7 + place)
    queried = np.array([4, 8, 48, 1_000], np.uint64)
    found = kept.of_visitors(queried)
    wanted = sorted(offset for key in queried.tolist() for offset in expected.get(key, []))
    assert sorted(found["offset"].to_list()) == wanted
    assert found["page_path"].to_list() == [f"/{key}\n'" for key in found["key"].to_list()]
    assert len(kept) == 280
    kept.forget_before(20)
    assert (kept.first_offset(), len(kept)) == (140, 140)
    # The files are already unlinked. However the process ends, no file remains.
    assert not list(tmp_path.glob("cache/*"))
