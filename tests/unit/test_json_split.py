"""Test that a JSON batch with more hits than permitted is split like any other, but for the texts of further hits."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.json_split import split_batch

ELEMENTS: st.SearchStrategy[list[object]] = st.lists(
    st.one_of(st.just({}), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
)


@given(ELEMENTS, st.integers(0, 4), st.sampled_from([None, 1]))
def test_further_hits_are_counted_and_have_no_text(elements: list[object], most: int, indent: int | None) -> None:
    body = json.dumps({"batchId": "b", "hits": elements, "ingestKey": "k"}, indent=indent).encode()
    found, all_read = split_batch(body, most), split_batch(body)
    assert found is not None
    assert all_read is not None
    assert (found.hits, found.fields) == (elements, {"batchId": "b", "ingestKey": "k"})
    assert found.sizes() == all_read.sizes()[:most]


@pytest.mark.parametrize("most", [0, 1, 2, 9])
@pytest.mark.parametrize("body", ['{"hits": [1, 2,]}', '{"hits": [1, 2', '{"hits": [1, 2, x]}', '{"hits": [1 2]}'])
def test_a_fault_is_at_the_same_place_however_many_hits_are_read(body: str, most: int) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(body)
    with pytest.raises(json.JSONDecodeError) as found:
        split_batch(body.encode(), most)
    assert found.value.pos == expected.value.pos
