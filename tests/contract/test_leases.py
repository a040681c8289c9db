"""Leases. Contract tests for the port Leases.

Leases on a server expire by the server's own clock, so the tests wait until leases have expired.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.leases import Lease
from tests.support.clock import ManualClock
from tests.support.opened import Opener
from tests.support.waiting import eventually

LONG_MS = 600_000
SHORT_MS = 1_000
A, B = "settler-a/0", "settler-b/0"


def acquired(stores: Stores, names: Sequence[str], owner: str, length_ms: int = LONG_MS) -> list[Lease]:
    return list(stores.leases.acquire(names, owner, length_ms))


def pass_by(clock: ManualClock, stores: Stores, *names: str) -> None:
    """Advance the clock, or wait on servers, until the leases on the given names have expired."""
    clock.advance(SHORT_MS)
    eventually(lambda: not stores.leases.held(names), "the leases expire")


class TestLeases:
    def test_acquired_lease_is_seen_by_another_process_and_cannot_be_acquired_by_another_owner(
        self, opener: Opener
    ) -> None:
        (lease,) = acquired(opener(), ["x"], A)
        assert (lease.name, lease.owner, lease.load) == ("x", A, 0)
        assert list(opener().leases.held(["w", "x", "y"])) == [lease]
        assert [got.name for got in acquired(opener(), ["w", "x", "y"], B)] == ["w", "y"]
        assert [(held.name, held.owner) for held in opener().leases.held(["y", "x", "w"])] == [
            ("y", B),
            ("x", A),
            ("w", B),
        ]
        assert acquired(opener(), [], A) == list(opener().leases.renew([], LONG_MS)) == []

    def test_a_restarted_owner_acquires_the_lease_again_with_a_greater_token(self, opener: Opener) -> None:
        (before,) = acquired(opener(), ["x"], A)
        (after,) = acquired(opener(), ["x"], A)
        assert after.token > before.token
        assert list(opener().leases.renew([before], LONG_MS)) == []
        opener().leases.release([before])
        assert list(opener().leases.held(["x"])) == [after]

    def test_a_restarted_owner_begins_without_load(self, opener: Opener) -> None:
        (before,) = acquired(opener(), ["x"], A)
        assert len(opener().leases.renew([replace(before, load=7)], LONG_MS)) == 1
        (after,) = acquired(opener(), ["x"], A)
        assert (after.load, [lease.load for lease in opener().leases.held(["x"])]) == (0, [0])

    def test_renewal_stores_the_load_and_repeats(self, opener: Opener) -> None:
        first, second = acquired(opener(), ["x", "y"], A)
        loaded = [replace(first, load=2**40), replace(second, load=7)]
        for _ in range(2):
            assert list(opener().leases.renew(loaded, LONG_MS)) == loaded
        assert list(opener().leases.held(["x", "y"])) == loaded

    def test_released_lease_is_free_and_the_next_token_is_greater(self, opener: Opener) -> None:
        (lease,) = acquired(opener(), ["x"], A)
        for _ in range(2):
            opener().leases.release([lease])
        opener().leases.release([])
        assert list(opener().leases.held(["x"])) == list(opener().leases.renew([lease], LONG_MS)) == []
        (following,) = acquired(opener(), ["x"], B)
        assert following.token > lease.token

    def test_expired_lease_is_free_cannot_be_renewed_and_the_next_token_is_greater(
        self, opener: Opener, clock: ManualClock
    ) -> None:
        stores = opener()
        (lease,) = acquired(stores, ["x"], A, SHORT_MS)
        (other,) = acquired(stores, ["y"], A)
        pass_by(clock, stores, "x")
        assert list(stores.leases.renew([lease, other], LONG_MS)) == [other]
        (following,) = acquired(stores, ["x", "y"], B)
        assert (following.name, following.owner) == ("x", B)
        assert following.token > lease.token
        stores.leases.release([lease])
        assert list(stores.leases.held(["x"])) == [following]

    def test_renewed_lease_does_not_expire_with_its_first_length(self, opener: Opener, clock: ManualClock) -> None:
        stores = opener()
        renewed, expiring = acquired(stores, ["x", "y"], A, SHORT_MS)
        assert list(stores.leases.renew([renewed], LONG_MS)) == [renewed]
        pass_by(clock, stores, expiring.name)
        assert list(stores.leases.held(["x", "y"])) == [renewed]

    @pytest.mark.parametrize("names", [["x"], ["x", "y", "z"]])
    def test_of_two_owners_at_once_exactly_one_acquires_each_name(self, opener: Opener, names: list[str]) -> None:
        start, found = threading.Barrier(2), list[Lease]()

        def race(stores: Stores, owner: str) -> None:
            start.wait()
            found.extend(acquired(stores, names, owner))

        threads = [threading.Thread(target=race, args=(opener(), owner)) for owner in (A, B)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(lease.name for lease in found) == names
        by_name = {lease.name: lease for lease in found}
        assert list(opener().leases.held(names)) == [by_name[name] for name in names]
