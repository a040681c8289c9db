"""Test the slots for open streams, with limits of one and two."""

from __future__ import annotations

import pytest

from collector.slots import ShownKey, SlotLimits, StreamSlots
from hitmesh.model.errors import RetryError


def the_slots(
    total: int = 4, per_key: int = 2, keyless: int = 1, unproven: int = 2, reserved: int = 0, per_merchant: int = 99
) -> StreamSlots[str]:
    return StreamSlots(SlotLimits(total, per_merchant, per_key, keyless, unproven, reserved))


def secret(key: str, *, keyless: bool = False, merchant: str = "merchants/m") -> ShownKey:
    return ShownKey(key, merchant, is_secret=True, is_keyless=keyless)


def public(key: str, *, keyless: bool = False) -> ShownKey:
    return ShownKey(key, "merchants/m", is_secret=False, is_keyless=keyless)


def prove(slots: StreamSlots[str], stream: str, shown: ShownKey) -> None:
    slots.enter(stream)
    slots.prove(stream, shown)


def test_the_oldest_unproven_stream_makes_room() -> None:
    slots = the_slots()
    assert [slots.enter(name) for name in ("a", "b", "c")] == [None, None, "a"]
    assert slots.streams == ["b", "c"]


def test_unproven_streams_take_no_more_than_proven_ones_leave() -> None:
    slots = the_slots(total=3, per_key=3, unproven=3)
    for name in ("a", "b"):
        prove(slots, name, secret("key"))
    assert [slots.enter("c"), slots.enter("d")] == [None, "c"]
    slots.prove("d", secret("key"))
    with pytest.raises(RetryError, match="3 open streams; the limit is 3"):
        slots.enter("e")


@pytest.mark.parametrize(("keyless", "most"), [(False, 2), (True, 1)])
def test_streams_of_a_key_are_capped_and_leave_room(keyless: bool, most: int) -> None:
    slots = the_slots()
    for name in range(most):
        prove(slots, str(name), secret("key", keyless=keyless))
    slots.enter("more")
    with pytest.raises(RetryError, match=f"the limit is {most}"):
        slots.prove("more", secret("key", keyless=keyless))
    slots.prove("more", secret("another"))
    slots.leave("0")
    slots.leave("0")
    prove(slots, "again", secret("key", keyless=keyless))
    assert len(slots) == most + 1


def test_a_stream_counts_under_the_key_that_it_shows_later() -> None:
    slots = the_slots(per_key=2)
    prove(slots, "a", public("key"))
    prove(slots, "b", public("key", keyless=True))
    with pytest.raises(RetryError, match="2 open streams of this key"):
        prove(slots, "c", public("key"))


def test_streams_of_browser_keys_leave_slots_to_secret_keys() -> None:
    slots = the_slots(total=8, reserved=3)
    for number in range(6):  # at most a quarter of the slots is reserved for secret keys
        prove(slots, f"browser {number}", public(f"key {number}"))
    with pytest.raises(RetryError, match="6 open streams of browser keys"):
        prove(slots, "one more", public("another"))
    slots.leave("one more")
    slots.enter("silent")
    prove(slots, "server", secret("server"))
    assert slots.enter("server 2") == "silent"
    slots.prove("server 2", secret("server"))
    slots.leave("browser 0")
    prove(slots, "one more", public("another"))


def test_a_merchant_with_many_keys_leaves_slots_to_other_merchants() -> None:
    slots = the_slots(total=6, per_merchant=3)
    for number in range(3):
        prove(slots, f"m {number}", secret(f"m {number}"))
    for number in range(9):
        with pytest.raises(RetryError, match=r"3 open streams with keys of merchants/m \(max_streams_per_merchant\)"):
            prove(slots, f"another {number}", secret(f"another {number}"))
        slots.leave(f"another {number}")
    for number in range(3):
        prove(slots, f"o {number}", secret(f"o {number}", merchant="merchants/o"))
    slots.leave("m 1")
    prove(slots, "again", secret("again"))


def test_streams_whose_keys_could_not_be_looked_up_share_no_merchant() -> None:
    slots = the_slots(per_merchant=1)
    for name in ("a", "b"):
        prove(slots, name, secret(name, merchant=""))
    for name in ("a", "b"):
        slots.leave(name)
    prove(slots, "c", secret("c"))
    slots.enter("d")
    with pytest.raises(RetryError, match="max_streams_per_merchant"):
        slots.prove("d", secret("d"))
