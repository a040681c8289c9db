"""OrderClaims."""

from __future__ import annotations

import threading
from dataclasses import replace

from hitmesh.adapters.factory import Stores
from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.positions import Position
from tests.support.opened import Opener

SHOP = "merchants/m/sites/shop"


def a_claim(order_id: str, offset: int, row: int = 0, log_time: int = 0, site: str = SHOP) -> OrderClaim:
    position = Position("hits.1", 0, offset)
    return OrderClaim(site, order_id, log_time or offset, position, row, 2**64 - 1, 2**63, "h'1\\", 20_000, False)


class TestOrderClaims:
    def test_claim_comes_back_as_it_was_made(self, opener: Opener) -> None:
        claim = replace(a_claim("o'\"\\\nü", 1, 2), excluded=True, duplicate=True)
        opener().claims.claim([claim])
        assert list(opener().claims.of(SHOP, ["o'\"\\\nü"])) == [claim]

    def test_claims_come_in_log_order(self, stores: Stores) -> None:
        late, second, first = a_claim("a", 1, 0, 9), a_claim("a", 3, 1, 5), a_claim("b", 3, 0, 5)
        stores.claims.claim([late, second, first])
        assert list(stores.claims.of(SHOP, ["a", "b"])) == [first, second, late]

    def test_claims_of_other_orders_and_sites_stay_out(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1), a_claim("b", 2), a_claim("a", 3, site="other")])
        assert [claim.position.offset for claim in stores.claims.of(SHOP, ["a", "none"])] == [1]
        assert list(stores.claims.of(SHOP, [])) == []

    def test_claiming_twice_is_claiming_once_and_keeps_the_verdict(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1), a_claim("a", 2)])
        stores.claims.set_duplicates(SHOP, {(Position("hits.1", 0, 2), 0): True})
        stores.claims.claim([a_claim("a", 1), a_claim("a", 2)])
        assert [claim.duplicate for claim in stores.claims.of(SHOP, ["a"])] == [False, True]

    def test_verdict_can_be_taken_back(self, stores: Stores) -> None:
        stores.claims.claim([a_claim("a", 1)])
        key = (Position("hits.1", 0, 1), 0)
        stores.claims.set_duplicates(SHOP, {key: True, (Position("hits.9", 0, 1), 0): True})
        stores.claims.set_duplicates(SHOP, {key: False})
        assert [claim.duplicate for claim in stores.claims.of(SHOP, ["a"])] == [False]

    def test_claims_of_many_orders_are_read_in_one_call(self, stores: Stores) -> None:
        ids = [f"order-{number}" for number in range(3_000)]
        stores.claims.claim([a_claim(order_id, number) for number, order_id in enumerate(ids)])
        assert len(stores.claims.of(SHOP, ids)) == 3_000

    def test_first_to_ask_holds_an_order_and_finds_itself_again(self, opener: Opener) -> None:
        claims = [a_claim("a", 1), a_claim("a", 1, 1), a_claim("b", 2), a_claim("a", 3)]
        assert list(opener().claims.first(claims)) == [True, False, True, False]
        again = [a_claim("a", 3), a_claim("a", 1), a_claim("b", 2), a_claim("c", 9)]
        assert list(opener().claims.first(again)) == [False, True, True, True]
        assert list(opener().claims.first([])) == []

    def test_held_orders_stay_held_however_often_they_are_claimed(self, stores: Stores) -> None:
        """A replay of the log first claims orders that already have holders, and later claims new orders."""
        held = [a_claim(name, 1, row) for row, name in enumerate("abc")]
        assert list(stores.claims.first(held)) == [True] * 3
        for _ in range(3):
            assert list(stores.claims.first(held)) == [True] * 3
            assert list(stores.claims.first([replace(claim, row=9) for claim in held])) == [False] * 3
        one_held = [a_claim("c", 2), a_claim("d", 2, 1), a_claim("d", 3)]
        assert list(stores.claims.first(one_held)) == [False, True, False]
        mostly_new = [a_claim("e", 4), a_claim("f", 4, 1), a_claim("a", 4, 2)]
        assert list(stores.claims.first(mostly_new)) == [True, True, False]

    def test_orders_are_held_per_site_and_apart_for_excluded_hits(self, stores: Stores) -> None:
        excluded, other = replace(a_claim("a", 2), excluded=True), a_claim("a", 3, site="other")
        assert list(stores.claims.first([a_claim("a", 1), excluded, other])) == [True, True, True]
        assert list(stores.claims.first([replace(excluded, row=1), replace(other, row=1)])) == [False, False]

    def test_any_text_names_an_order(self, stores: Stores) -> None:
        names = ["o'\"\\\nü", "", "\x00", "\x00b", "a%", "👩‍👩‍👧"]
        assert list(stores.claims.first([a_claim(name, 1, row) for row, name in enumerate(names)])) == [True] * 6
        assert list(stores.claims.first([a_claim(name, 2, row) for row, name in enumerate(names)])) == [False] * 6

    def test_holding_an_order_is_no_claim_on_it(self, stores: Stores) -> None:
        stores.claims.first([a_claim("a", 1)])
        assert list(stores.claims.of(SHOP, ["a"])) == []

    def test_claim_of_an_order_carries_what_it_came_to(self, opener: Opener) -> None:
        claims = [replace(a_claim("a", at), total=total, currency="EUR") for at, total in ((1, -(10**18)), (2, 0))]
        opener().claims.claim([*claims, a_claim("a", 3)])
        assert list(opener().claims.of(SHOP, ["a"])) == [*claims, a_claim("a", 3)]

    def test_an_order_and_a_refund_of_one_id_have_nothing_to_do_with_each_other(self, opener: Opener) -> None:
        order, other = a_claim("a", 1), a_claim("a", 4)
        refund, again = (replace(a_claim("a", at), kind=ClaimKind.REFUND) for at in (2, 3))
        opener().claims.claim([refund, order, again])
        assert list(opener().claims.of(SHOP, ["a"])) == [order]
        assert list(opener().claims.of(SHOP, ["a"], ClaimKind.REFUND)) == [refund, again]
        assert list(opener().claims.first([order, refund, again, other])) == [True, True, False, False]
        assert list(opener().claims.first([refund, other])) == [True, False]
        opener().claims.set_duplicates(SHOP, {(refund.position, 0): True, (order.position, 0): False})
        assert list(opener().claims.of(SHOP, ["a"], ClaimKind.REFUND)) == [replace(refund, duplicate=True), again]
        assert list(opener().claims.of(SHOP, ["a"])) == [order]

    def test_days_of_refunds_of_whole_orders_are_noted_once(self, opener: Opener) -> None:
        noted = [WholeRefund(SHOP, "a", 9), WholeRefund(SHOP, "a", 7), WholeRefund("other", "b", 7)]
        opener().claims.note_refunds(noted)
        opener().claims.note_refunds(noted[:1])
        days = opener().claims.refund_days(SHOP, ["a", "b", "c"])
        assert {order_id: list(of_order) for order_id, of_order in days.items()} == {"a": [7, 9]}
        assert not opener().claims.refund_days(SHOP, [])

    def test_of_two_concurrent_claimants_exactly_one_holds_the_order(self, opener: Opener) -> None:
        both = [opener(), opener()]
        start = threading.Barrier(2)
        held: list[bool] = []

        def ask(stores: Stores, offset: int) -> None:
            start.wait()
            held.extend(stores.claims.first([a_claim("a", offset)]))

        threads = [threading.Thread(target=ask, args=(stores, number)) for number, stores in enumerate(both)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(held) == [False, True]
