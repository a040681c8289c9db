"""Test how several settlers divide the buckets of sites."""

from __future__ import annotations

from random import Random

import pytest

from hitmesh.model.site_buckets import EVERY_BUCKET, SITE_BUCKETS
from processor.settle.division import Division, Member

MUCH = 10


def a_division(me: Member, *others: Member) -> Division:
    return Division(me, others, MUCH)


def buckets(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


def test_single_settler_acquires_every_bucket_and_leaves_none() -> None:
    alone = a_division(Member("a", buckets(3)))
    assert set(alone.to_acquire(EVERY_BUCKET - {3})) == EVERY_BUCKET - {3}
    assert not a_division(Member("a", EVERY_BUCKET, MUCH)).to_leave(dict.fromkeys(range(9), 9))


def test_settlers_with_little_work_have_equal_numbers_of_buckets() -> None:
    whole, empty = Member("a", EVERY_BUCKET), Member("b", frozenset())
    assert len(a_division(whole, empty).to_leave({})) == SITE_BUCKETS // 2
    left = a_division(whole, empty, Member("c", frozenset())).to_leave({31: 2, 30: 1})
    assert (len(left), left & {30, 31}) == (21, frozenset()), "the lightest buckets are left"
    assert len(a_division(empty, whole).to_acquire(EVERY_BUCKET)) == SITE_BUCKETS // 2
    assert a_division(Member("a", buckets(*range(16))), Member("b", buckets(*range(16, 32)))).to_leave({}) == set()


def test_settler_with_much_work_leaves_every_second_busy_bucket_to_a_settler_with_little() -> None:
    loads = {0: 9, 1: 8, 2: 7, 3: 6}
    me = Member("a", buckets(*range(16)), sum(loads.values()))
    idle, busy = Member("b", buckets(*range(16, 32)), MUCH - 1), Member("b", buckets(*range(16, 32)), MUCH)
    assert a_division(me, idle).to_leave(loads) == {1, 3}
    assert a_division(me, idle, Member("c", frozenset())).to_leave(loads) == {1, 2}
    assert a_division(me, busy).to_leave(loads) == set()
    assert a_division(me, idle).to_leave({0: 99}) == set(), "a single bucket cannot be shared"


def test_settler_with_little_work_acquires_every_free_bucket_while_another_has_much() -> None:
    idle = Member("a", buckets(*range(16)), 0)
    busy = Member("b", buckets(*range(20, 32)), MUCH)
    assert set(a_division(idle, busy).to_acquire(buckets(16, 17, 18, 19))) == {16, 17, 18, 19}
    assert a_division(busy, idle).to_acquire(buckets(16, 17, 18, 19)) == [16, 17, 18, 19]
    assert a_division(Member("b", buckets(*range(16, 32)), MUCH), idle).to_acquire(buckets(1)) == []


@pytest.mark.parametrize("count", [2, 3, 5, SITE_BUCKETS])
def test_settlers_that_decide_in_turns_soon_have_every_bucket_in_equal_shares(count: int) -> None:
    dice = Random(count)
    members = {f"s{number:02}": frozenset[int]() for number in range(count)}
    for _ in range(4):
        for owner in dice.sample(sorted(members), count):
            me = Member(owner, members[owner])
            division = a_division(me, *(Member(name, has) for name, has in members.items() if name != owner))
            free = EVERY_BUCKET.difference(*members.values())
            members[owner] = (me.buckets | set(division.to_acquire(free))) - division.to_leave({})
    assert frozenset[int]().union(*members.values()) == EVERY_BUCKET
    assert sorted(map(len, members.values())) == sorted(len(range(n, SITE_BUCKETS, count)) for n in range(count))
