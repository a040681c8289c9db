"""Merchants, and changes of sites in SiteDirectory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import AlreadyExists
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import PolicyChange, Site
from tests.support.clock import ManualClock
from tests.support.opened import Opener

ACME = Merchant("merchants/acme", "Acme Ltd ü", 5, 5)
SHOP = Site("merchants/m/sites/shop", "Asia/Kathmandu", "NPR", b"0123456789abcdef", 7, 2)
CALLERS = 4


def winners(change: Callable[[int], bool]) -> list[int]:
    """Return the callers whose change was stored, when all callers change the same object at the same time."""
    with ThreadPoolExecutor(CALLERS) as pool:
        results = list(pool.map(change, range(CALLERS)))
    return [number for number, is_stored in enumerate(results) if is_stored]


class TestMerchants:
    def test_merchant_comes_back_as_created_and_creation_is_idempotent(self, opener: Opener) -> None:
        first, second = opener().merchants, opener().merchants
        assert first.merchant(ACME.name) is None
        assert first.create_merchant(ACME) == ACME
        assert second.create_merchant(replace(ACME, created_at=99, updated_at=99)) == ACME
        assert second.merchant(ACME.name) == ACME
        with pytest.raises(AlreadyExists, match="another display name"):
            second.create_merchant(replace(ACME, display_name="Other"))

    def test_change_is_stored_once_for_each_revision(self, opener: Opener) -> None:
        first, second = opener().merchants, opener().merchants
        first.create_merchant(ACME)
        changed = replace(ACME, display_name="Ltd", updated_at=9, revision=1)
        assert first.change_merchant(ACME, changed)
        assert first.change_merchant(ACME, changed)  # a repeated call
        assert not second.change_merchant(ACME, replace(changed, display_name="late"))
        assert second.merchant(ACME.name) == changed
        assert not first.change_merchant(replace(ACME, name="merchants/none"), replace(changed, name="merchants/none"))
        assert first.merchant("merchants/none") is None

    def test_exactly_one_of_concurrent_changes_wins(self, stores: Stores) -> None:
        stores.merchants.create_merchant(ACME)
        changed = [replace(ACME, display_name=f"{number}", revision=1) for number in range(CALLERS)]
        (winner,) = winners(lambda number: stores.merchants.change_merchant(ACME, changed[number]))
        assert stores.merchants.merchant(ACME.name) == changed[winner]

    def test_name_of_a_deleted_merchant_stays_taken_and_is_not_listed(self, stores: Stores) -> None:
        stores.merchants.create_merchant(ACME)
        deleted = replace(ACME, revision=1, deleted_at=9)
        assert stores.merchants.change_merchant(ACME, deleted)
        assert stores.merchants.merchant(ACME.name) == deleted
        assert not stores.merchants.merchants("", 9)
        with pytest.raises(AlreadyExists, match="was deleted"):
            stores.merchants.create_merchant(ACME)

    def test_merchants_are_listed_by_name_in_pages_without_deleted_merchants(self, stores: Stores) -> None:
        names = [f"merchants/{letter}" for letter in "cbadfe"]
        for name in names:
            stores.merchants.create_merchant(replace(ACME, name=name))
        for name in ("merchants/a", "merchants/b"):
            there = replace(ACME, name=name)
            stores.merchants.change_merchant(there, replace(there, revision=1, deleted_at=1))
        assert [each.name for each in stores.merchants.merchants("", 2)] == ["merchants/c", "merchants/d"]
        assert [each.name for each in stores.merchants.merchants("merchants/d", 9)] == ["merchants/e", "merchants/f"]


class TestChangesOfSites:
    def test_changed_values_are_seen_by_another_process(self, opener: Opener) -> None:
        first, second = opener().directory, opener().directory
        first.create_site(SHOP)
        assert second.site(SHOP.name) == SHOP
        changed = replace(
            SHOP,
            display_name="Shop ü",
            own_hosts=("shop.example", "www.shop.example"),
            allowed_origins=("https://shop.example",),
            consent_by_default=False,
            cookieless_counting=True,
            identify_by_user_id=True,
            rules=SiteRules(1, (), 9),
            revision=1,
            updated_at=9,
        )
        assert first.change_site(SHOP, changed)
        assert first.change_site(SHOP, changed)  # a repeated call
        assert first.site(SHOP.name) == changed
        assert second.site_or_deleted(SHOP.name, fresh=True) == changed
        assert opener().directory.site(SHOP.name) == changed
        assert list(second.sites("merchants/m", "", 9)) == [changed]
        assert second.create_site(SHOP) == changed

    def test_values_that_were_read_before_another_change_are_refused(self, stores: Stores) -> None:
        directory = stores.directory
        directory.create_site(SHOP)
        changed = replace(SHOP, display_name="first", revision=1)
        assert directory.change_site(SHOP, changed)
        assert not directory.change_site(SHOP, replace(SHOP, display_name="second", revision=1))
        assert directory.change_rules(SHOP.name, SiteRules(1))
        assert not directory.change_site(changed, replace(changed, display_name="third", revision=2))
        assert directory.site(SHOP.name) == replace(changed, rules=SiteRules(1))
        other = replace(SHOP, name="merchants/m/sites/none")
        assert not directory.change_site(other, replace(other, revision=1))
        assert directory.site_or_deleted(other.name, fresh=True) is None

    def test_exactly_one_of_concurrent_changes_wins(self, stores: Stores) -> None:
        stores.directory.create_site(SHOP)
        changed = [replace(SHOP, display_name=f"{number}", revision=1) for number in range(CALLERS)]
        (winner,) = winners(lambda number: stores.directory.change_site(SHOP, changed[number]))
        assert stores.directory.site(SHOP.name) == changed[winner]

    def test_change_keeps_the_changes_of_the_policy(self, stores: Stores) -> None:
        stores.directory.create_site(SHOP)
        change = PolicyChange(20_010, False, True)
        stores.directory.change_policy(SHOP.name, change)
        changed = replace(SHOP, display_name="Shop", revision=1)
        assert stores.directory.change_site(SHOP, changed)
        assert stores.directory.site(SHOP.name) == replace(changed, policy_changes=(change,))

    def test_deleted_site_does_not_exist_but_keeps_its_name_and_data(self, opener: Opener) -> None:
        directory = opener().directory
        directory.create_site(SHOP)
        deleted = replace(SHOP, revision=1, updated_at=9, deleted_at=9)
        assert directory.change_site(SHOP, deleted)
        assert directory.site(SHOP.name) is None
        assert opener().directory.site(SHOP.name) is None
        assert opener().directory.site_or_deleted(SHOP.name) == deleted
        with pytest.raises(AlreadyExists, match="was deleted"):
            directory.create_site(SHOP)
        assert directory.change_site(deleted, replace(deleted, revision=2, deleted_at=None))
        assert directory.site(SHOP.name) == replace(SHOP, revision=2, updated_at=9)

    def test_deletion_made_elsewhere_is_seen_within_a_second(self, opener: Opener, clock: ManualClock) -> None:
        here, elsewhere = opener().directory, opener().directory
        elsewhere.create_site(SHOP)
        assert here.site(SHOP.name) == SHOP
        deleted = replace(SHOP, revision=1, deleted_at=9)
        assert elsewhere.change_site(SHOP, deleted)
        clock.advance(1_000)
        assert here.site(SHOP.name) is None
        assert elsewhere.change_site(deleted, deleted)  # a repeated call stores the same values
        assert here.site_or_deleted(SHOP.name, fresh=True) == deleted

    def test_list_leaves_out_deleted_sites_and_still_fills_its_pages(self, stores: Stores) -> None:
        sites = [replace(SHOP, name=f"merchants/m/sites/s{number}") for number in range(5)]
        for site in sites:
            stores.directory.create_site(site)
        for site in sites[:3]:
            assert stores.directory.change_site(site, replace(site, revision=1, deleted_at=9))
        for merchant in ("merchants/m", None):
            assert [site.name for site in stores.directory.sites(merchant, "", 2)] == [sites[3].name, sites[4].name]
            every = stores.directory.sites(merchant, "", 4, with_deleted=True)
            assert [site.name for site in every] == [site.name for site in sites[:4]]
