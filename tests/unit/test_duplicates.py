"""Test how copies are found, with literal times."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from processor.rules.copies import Copies, find_copies

HOUR = 3_600_000


def copies(*hits: tuple[str, str, int, int], window_ms: int = 2 * HOUR) -> Copies:
    """Return the copies among the hits, and for each copy the earlier hit that it copies.

    A hit is a tuple (visitor, id, event time, content), and the hits are in log order. Ids with the same first letter
    have the same hash.
    """
    return find_copies(
        pl.DataFrame(
            {
                "visitor_hi": pl.Series([ord(hit[0]) for hit in hits], dtype=pl.UInt64),
                "visitor_lo": pl.Series([ord(hit[0]) + 1 for hit in hits], dtype=pl.UInt64),
                "hit_hash": pl.Series([ord(hit[1][0]) for hit in hits], dtype=pl.UInt64),
                "hit_id": [hit[1] for hit in hits],
                "event_time": pl.Series([hit[2] for hit in hits], dtype=pl.Int64),
                "content_hash": pl.Series([hit[3] for hit in hits], dtype=pl.UInt64),
            }
        ),
        window_ms,
    )


def test_hits_sent_twice_are_counted_once() -> None:
    found = copies(("v", "a", 0, 1), ("v", "b", 5, 1), ("v", "a", 0, 1), ("v", "b", 5, 1))
    assert found.is_copy.tolist() == [False, False, True, True]
    assert found.original.tolist() == [-1, -1, 0, 1]


def test_ids_with_one_hash_are_no_copies_of_each_other() -> None:
    found = copies(("v", "a1", 0, 1), ("v", "a2", 0, 1), ("v", "a1", 3 * HOUR, 1), ("v", "b", 0, 1), ("v", "a2", 1, 2))
    assert found.original.tolist() == [-1, -1, -1, -1, 1]
    assert found.collides.tolist() == [False, False, False, False, True]


def test_same_id_of_another_visitor_is_no_copy() -> None:
    assert not copies(("v", "a", 0, 1), ("w", "a", 0, 1)).is_copy.any()


def test_first_in_log_order_counts_whatever_its_time() -> None:
    assert copies(("v", "a", HOUR, 1), ("v", "a", 0, 1)).is_copy.tolist() == [False, True]


def test_copies_are_known_up_to_two_hours_apart_and_no_further() -> None:
    assert copies(("v", "a", 0, 1), ("v", "a", 2 * HOUR, 1)).is_copy.tolist() == [False, True]
    assert copies(("v", "a", 0, 1), ("v", "a", 2 * HOUR + 1, 1)).is_copy.tolist() == [False, False]


def test_copy_of_a_copy_is_a_copy_even_when_the_first_is_far_away() -> None:
    found = copies(("v", "a", 0, 1), ("v", "a", 2 * HOUR, 1), ("v", "a", 4 * HOUR, 1), ("v", "a", 9 * HOUR, 1))
    assert found.is_copy.tolist() == [False, True, True, False]


def test_later_record_between_two_far_hits_is_a_copy_of_the_nearer() -> None:
    found = copies(("v", "a", 0, 1), ("v", "a", 5 * HOUR, 1), ("v", "a", 4 * HOUR, 1), ("v", "a", 2 * HOUR + 30, 1))
    assert found.is_copy.tolist() == [False, False, True, True]


def test_copy_with_other_content_is_a_collision() -> None:
    found = copies(("v", "a", 0, 1), ("v", "a", 0, 2), ("v", "a", 0, 1))
    assert found.collides.tolist() == [False, True, False]


def test_no_hits_have_no_copies() -> None:
    assert copies().is_copy.tolist() == []


def nearest(times: list[int], window_ms: int) -> list[int]:
    """For each hit, return the row of which the hit is a copy. Return −1 for a hit that is no copy.

    Only a row with a lower number can be the original. There are two candidates: the row with the next earlier time,
    and the row with the same or the next later time. If both candidates are within the window, the candidate with the
    lower row number is the original.
    """
    found = []
    for row, time in enumerate(times):
        before = [(earlier, each) for each, earlier in enumerate(times[:row]) if earlier < time]
        later = [(earlier, each) for each, earlier in enumerate(times[:row]) if earlier >= time]
        near = [*([max(before)] if before else []), *([min(later)] if later else [])]
        found.append(min((each for earlier, each in near if abs(earlier - time) <= window_ms), default=-1))
    return found


@given(st.lists(st.integers(0, 12), max_size=40))
def test_an_id_that_repeats_over_hours_is_compared_with_the_nearest_earlier_hits(hours: list[int]) -> None:
    times = [hour * HOUR for hour in hours]
    found = copies(*(("v", "a", time, 1) for time in times))
    expected = nearest(times, 2 * HOUR)
    if max(times, default=0) - min(times, default=0) <= 2 * HOUR:
        expected = [0 if row else -1 for row in range(len(times))]
    assert found.original.tolist() == expected
