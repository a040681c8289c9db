"""SiteDirectory."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import AlreadyExists, NotFound
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind, PolicyChange, Role, Site, VisitPolicy
from tests.support.clock import ManualClock
from tests.support.opened import Opener

SHOP = Site("merchants/m/sites/shop", "Asia/Kathmandu", "NPR", b"0123456789abcdef", 7, 2)
KEY = IngestKey("k1", "merchants/m", KeyKind.SERVER, None, True, 5, roles=frozenset({Role.SEND, Role.READ}))


class TestSiteDirectory:
    def test_secret_of_the_mesh_is_made_once_and_stays(self, opener: Opener) -> None:
        secret = opener().directory.mesh_secret()
        assert len(secret) == 32
        assert opener().directory.mesh_secret() == secret

    def test_site_comes_back_as_it_was_created(self, opener: Opener) -> None:
        site = replace(
            SHOP,
            policy=VisitPolicy("v2", 60_000, 1, 2, False, True),
            cookieless_counting=True,
            consent_by_default=False,
            identify_by_user_id=True,
        )
        assert opener().directory.create_site(site) == site
        assert opener().directory.site(site.name) == site
        assert opener().directory.site("merchants/m/sites/none") is None

    def test_creating_a_site_again_returns_what_is_there(self, stores: Stores) -> None:
        stores.directory.create_site(SHOP)
        assert stores.directory.create_site(replace(SHOP, secret=b"another secret!!", created_at=99)) == SHOP
        assert stores.directory.site(SHOP.name) == SHOP

    @pytest.mark.parametrize(
        "other",
        [
            replace(SHOP, time_zone="UTC"),
            replace(SHOP, currency="USD"),
            replace(SHOP, policy=VisitPolicy(gap_ms=60_000)),
        ],
    )
    def test_name_of_a_site_that_differs_is_taken(self, stores: Stores, other: Site) -> None:
        stores.directory.create_site(SHOP)
        with pytest.raises(AlreadyExists):
            stores.directory.create_site(other)
        assert stores.directory.site(SHOP.name) == SHOP

    def test_changes_of_a_policy_are_seen_by_another_process_in_the_order_of_days(self, opener: Opener) -> None:
        first, second = opener(), opener()
        first.directory.create_site(SHOP)
        assert second.directory.site(SHOP.name) == SHOP
        late, early = PolicyChange(20_010, False, True), PolicyChange(20_001, True, True)
        for change in (late, early, late):
            first.directory.change_policy(SHOP.name, change)
        changed = replace(SHOP, policy_changes=(early, late))
        assert first.directory.site(SHOP.name) == changed
        assert opener().directory.site(SHOP.name) == changed
        assert list(opener().directory.sites("merchants/m", "", 9)) == [changed]
        assert opener().directory.create_site(SHOP) == changed

    def test_list_of_sites_has_the_changes_of_each_site(self, stores: Stores) -> None:
        sites = [replace(SHOP, name=f"merchants/m/sites/s{number}") for number in range(4)]
        for site in sites:
            stores.directory.create_site(site)
        change = PolicyChange(20_000, False, False)
        for site in sites[1:3]:
            stores.directory.change_policy(site.name, change)
        changed = [replace(site, policy_changes=(change,)) for site in sites[1:3]]
        assert list(stores.directory.sites(None, "", 10)) == [sites[0], *changed, sites[3]]

    def test_change_of_a_policy_is_never_edited(self, stores: Stores) -> None:
        change = PolicyChange(20_010, False, True)
        with pytest.raises(NotFound):
            stores.directory.change_policy(SHOP.name, change)
        stores.directory.create_site(SHOP)
        assert stores.directory.change_policy(SHOP.name, change).policy_changes == (change,)
        with pytest.raises(AlreadyExists, match="never edited"):
            stores.directory.change_policy(SHOP.name, change._replace(campaign_splits=True))
        assert stores.directory.site(SHOP.name) == replace(SHOP, policy_changes=(change,))

    def test_sites_whose_policy_changes_are_found_by_day(self, stores: Stores) -> None:
        names = [f"merchants/m/sites/{number}" for number in range(3)]
        for number, name in enumerate(names):
            stores.directory.create_site(replace(SHOP, name=name))
            stores.directory.change_policy(name, PolicyChange(20_000 + number, False, False))
            stores.directory.change_policy(name, PolicyChange(20_005, False, True))
        assert set(stores.directory.changing_sites(20_000, 20_002)) == set(names[:2])
        assert set(stores.directory.changing_sites(20_005, 20_006)) == set(names)
        assert not stores.directory.changing_sites(20_003, 20_005)

    def test_sites_are_listed_by_name_in_pages(self, stores: Stores) -> None:
        names = ["merchants/a/sites/y", "merchants/a/sites/z", "merchants/b/sites/x", "merchants/ab/sites/x"]
        for name in names:
            stores.directory.create_site(replace(SHOP, name=name))
        found = [site.name for site in stores.directory.sites(None, "", 10)]
        assert found == sorted(names)
        assert [site.name for site in stores.directory.sites(None, found[1], 1)] == [found[2]]
        assert [site.name for site in stores.directory.sites("merchants/a", "", 10)] == names[:2]

    def test_key_is_found_by_its_secret_only(self, opener: Opener) -> None:
        opener().directory.create_key(KEY, "s3cret-ü")
        assert opener().directory.key("s3cret-ü") == KEY
        assert opener().directory.key("s3cret") is None
        assert opener().directory.key("k1") is None

    def test_key_id_and_secret_are_taken_once(self, stores: Stores) -> None:
        stores.directory.create_key(KEY, "one")
        with pytest.raises(AlreadyExists):
            stores.directory.create_key(KEY, "two")
        with pytest.raises(AlreadyExists):
            stores.directory.create_key(replace(KEY, key_id="k2"), "one")
        stores.directory.create_key(replace(KEY, merchant="merchants/n"), "two")

    def test_keys_are_those_of_the_merchant(self, stores: Stores) -> None:
        site_key = IngestKey("k0", "merchants/m", KeyKind.BROWSER, SHOP.name, created_at=1)
        stores.directory.create_key(KEY, "one")
        stores.directory.create_key(site_key, "two")
        stores.directory.create_key(replace(KEY, merchant="merchants/n"), "three")
        assert list(stores.directory.keys("merchants/m")) == [site_key, KEY]

    def test_roles_of_a_key_are_replaced_and_seen_by_other_processes(self, opener: Opener) -> None:
        first, second = opener().directory, opener().directory
        first.create_key(replace(KEY, roles=frozenset()), "one")
        assert second.key("one") == replace(KEY, roles=frozenset())
        changed = replace(KEY, roles=frozenset({Role.ADMINISTER, Role.SEND}), updated_at=5, version=1)
        for now in (5, 6):
            assert first.change_key_roles("merchants/m", "k1", changed.roles, now) == changed
        assert first.key("one") == opener().directory.key("one") == changed
        assert list(first.keys("merchants/m")) == [changed]
        with pytest.raises(NotFound):
            first.change_key_roles("merchants/n", "k1", changed.roles, 7)

    def test_key_of_an_operator_is_kept_under_no_merchant(self, stores: Stores) -> None:
        operator = IngestKey("k3", OPERATORS, KeyKind.OPERATOR)
        stores.directory.create_key(operator, "operate")
        assert stores.directory.key("operate") == operator
        assert list(stores.directory.keys("merchants/m")) == []
        assert list(stores.directory.keys(OPERATORS)) == [operator]

    def test_revoked_key_is_still_found_and_keeps_its_first_time(self, stores: Stores) -> None:
        stores.directory.create_key(KEY, "one")
        assert stores.directory.revoke_key("merchants/m", "k1", 50).revoked_at == 50
        assert stores.directory.revoke_key("merchants/m", "k1", 60).revoked_at == 50
        assert stores.directory.key("one") == replace(KEY, revoked_at=50, updated_at=50, version=1)

    def test_key_of_another_merchant_cannot_be_revoked(self, stores: Stores) -> None:
        stores.directory.create_key(KEY, "one")
        with pytest.raises(NotFound):
            stores.directory.revoke_key("merchants/n", "k1", 50)
        assert stores.directory.key("one") == KEY

    def test_change_made_elsewhere_is_seen_within_a_second(self, opener: Opener, clock: ManualClock) -> None:
        here, elsewhere = opener().directory, opener().directory
        assert here.site(SHOP.name) is None
        elsewhere.create_site(SHOP)
        elsewhere.create_key(KEY, "one")
        assert here.site(SHOP.name) == SHOP
        assert here.key("one") == KEY
        elsewhere.revoke_key("merchants/m", "k1", 50)
        clock.advance(1_000)
        assert here.key("one") == replace(KEY, revoked_at=50, updated_at=50, version=1)

    def test_salt_of_a_date_stays_and_is_the_sites_own(self, opener: Opener) -> None:
        today = date(2026, 3, 1)
        salt = opener().directory.salt(SHOP.name, today, today)
        assert len(salt) == 16
        assert opener().directory.salt(SHOP.name, today, today) == salt
        assert opener().directory.salt("merchants/m/sites/other", today, today) != salt

    def test_neighbours_of_today_have_salts_of_their_own_and_others_get_todays(self, stores: Stores) -> None:
        today = date(2026, 3, 1)
        near = [stores.directory.salt(SHOP.name, date(2026, 2, 28), today)]
        near += [stores.directory.salt(SHOP.name, date(2026, 3, day), today) for day in (1, 2)]
        assert len(set(near)) == 3
        for far in (date(2026, 2, 27), date(2026, 3, 3), date(2020, 1, 1)):
            assert stores.directory.salt(SHOP.name, far, today) == near[1]

    def test_salt_older_than_yesterday_is_destroyed(self, opener: Opener) -> None:
        first = date(2026, 3, 1)
        salt = opener().directory.salt(SHOP.name, first, first)
        assert opener().directory.salt(SHOP.name, first, date(2026, 3, 2)) == salt
        todays = opener().directory.salt(SHOP.name, date(2026, 3, 3), date(2026, 3, 3))
        assert opener().directory.salt(SHOP.name, first, date(2026, 3, 3)) == todays
        assert opener().directory.salt(SHOP.name, first, first) != salt

    def test_salt_of_a_quiet_site_is_destroyed_too(self, opener: Opener) -> None:
        first, later = date(2026, 3, 1), date(2026, 3, 5)
        salt = opener().directory.salt(SHOP.name, first, first)
        opener().directory.salt("merchants/m/sites/other", later, later)
        assert opener().directory.salt(SHOP.name, first, first) != salt
