"""Which streams may be open, with limits of one and two."""

from __future__ import annotations

import pytest

from collector.slots import KEYLESS_STREAM, SlotLimits, StreamSlots
from hitmesh.errors import RetryError


def the_slots(total: int = 4, per_key: int = 2, keyless: int = 1, unproven: int = 2) -> StreamSlots[str]:
    return StreamSlots(SlotLimits(total, per_key, keyless, unproven))


def test_the_oldest_unproven_stream_makes_room() -> None:
    slots = the_slots()
    assert [slots.enter(name) for name in ("a", "b", "c")] == [None, None, "a"]
    assert slots.streams == ["b", "c"]


def test_unproven_streams_take_no_more_than_proven_ones_leave() -> None:
    slots = the_slots(total=3, per_key=3, unproven=3)
    for name in ("a", "b"):
        slots.enter(name)
        slots.prove(name, "key")
    assert [slots.enter("c"), slots.enter("d")] == [None, "c"]
    slots.prove("d", "key")
    with pytest.raises(RetryError, match="3 open streams; the limit is 3"):
        slots.enter("e")


@pytest.mark.parametrize(("key", "most"), [("key", 2), (KEYLESS_STREAM, 1)])
def test_streams_of_a_key_are_capped_and_leave_room(key: str, most: int) -> None:
    slots = the_slots()
    for name in range(most):
        slots.enter(str(name))
        slots.prove(str(name), key)
    slots.enter("more")
    with pytest.raises(RetryError, match=f"the limit is {most}"):
        slots.prove("more", key)
    slots.prove("more", "another")
    slots.leave("0")
    slots.leave("0")
    slots.enter("again")
    slots.prove("again", key)
    assert len(slots) == most + 1
