"""The keys of SiteDirectory: every field is stored, and of concurrent changes to a version exactly one takes effect."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import NotFound
from hitmesh.model.names import ingest_key_name
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import IngestKey, KeyKind, Role
from tests.support.clock import ManualClock
from tests.support.opened import Opener

MERCHANT = "merchants/m"
KEY = IngestKey(
    "k1",
    MERCHANT,
    KeyKind.SERVER,
    "merchants/m/sites/shop",
    unbounded_history=True,
    created_at=5,
    roles=frozenset({Role.SEND, Role.READ}),
    expires_at=9_000,
    display_name="the shop’s server",
    prefix="AbC-_9",
    rotated_from="k0",
)


class TestKeys:
    def test_every_field_of_a_key_is_stored(self, opener: Opener) -> None:
        opener().directory.create_key(KEY, "one")
        for found in (opener().directory.key("one"), opener().directory.key_with_id(MERCHANT, "k1")):
            assert found == KEY
            assert found.prefix == KEY.prefix
        assert list(opener().directory.keys(MERCHANT)) == [KEY]

    def test_key_is_found_by_its_id_with_its_quota_under_its_merchant_only(self, stores: Stores) -> None:
        stores.directory.create_key(KEY, "one")
        stores.directory.change_quota(ingest_key_name(MERCHANT, "k1"), Quota(7, None, None))
        assert stores.directory.key_with_id(MERCHANT, "k1") == replace(KEY, quota=Quota(7, None, None))
        assert stores.directory.key_with_id("merchants/n", "k1") is None
        assert stores.directory.key_with_id(MERCHANT, "k") is None

    def test_next_version_of_a_key_is_stored_and_seen_by_other_processes(
        self, opener: Opener, clock: ManualClock
    ) -> None:
        here, elsewhere = opener().directory, opener().directory
        here.create_key(KEY, "one")
        assert elsewhere.key("one") == KEY
        changed = replace(KEY, roles=frozenset({Role.READ}), display_name="", updated_at=70, expires_at=None, version=1)
        assert here.change_key(changed)
        assert here.key("one") == changed
        clock.advance(1_000)
        assert elsewhere.key("one") == elsewhere.key_with_id(MERCHANT, "k1") == changed
        again = replace(changed, revoked_at=80, updated_at=80, version=2)
        assert elsewhere.change_key(again)
        assert here.key_with_id(MERCHANT, "k1") == again

    @pytest.mark.parametrize("version", [0, 2, 7])
    def test_version_that_does_not_follow_the_stored_version_changes_nothing(
        self, stores: Stores, version: int
    ) -> None:
        stores.directory.create_key(KEY, "one")
        assert not stores.directory.change_key(replace(KEY, display_name="other", version=version))
        assert stores.directory.key("one") == KEY

    def test_key_that_does_not_exist_is_neither_changed_nor_created(self, stores: Stores) -> None:
        for version in (1, 2):
            with pytest.raises(NotFound):
                stores.directory.change_key(replace(KEY, version=version))
        assert list(stores.directory.keys(MERCHANT)) == []

    def test_of_concurrent_changes_to_a_version_exactly_one_takes_effect(self, opener: Opener) -> None:
        directories = [opener().directory for _ in range(4)]
        directories[0].create_key(KEY, "one")
        changes = [replace(KEY, display_name=str(number), version=1) for number in range(4)]
        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(lambda pair: pair[0].change_key(pair[1]), zip(directories, changes, strict=True)))
        assert won.count(True) == 1
        assert directories[0].key_with_id(MERCHANT, "k1") == changes[won.index(True)]

    def test_deleted_key_is_gone_with_its_secret_and_quota(self, opener: Opener, clock: ManualClock) -> None:
        here, elsewhere = opener().directory, opener().directory
        name = ingest_key_name(MERCHANT, "k1")
        here.create_key(KEY, "one")
        here.change_quota(name, Quota(7, None, None))
        assert elsewhere.key("one") is not None
        assert here.delete_key(KEY)
        clock.advance(1_000)
        for directory in (here, elsewhere):
            assert directory.key("one") is None
            assert directory.key_with_id(MERCHANT, "k1") is None
            assert list(directory.keys(MERCHANT)) == []
            assert directory.quota(name) == NO_QUOTA
        assert here.delete_key(KEY), "a repeated deletion succeeds"

    def test_key_that_was_changed_is_not_deleted(self, stores: Stores) -> None:
        stores.directory.create_key(KEY, "one")
        changed = replace(KEY, expires_at=None, version=1)
        assert stores.directory.change_key(changed)
        assert not stores.directory.delete_key(KEY)
        assert stores.directory.key("one") == changed

    def test_secret_of_a_deleted_key_gives_no_access_to_a_later_key_with_the_same_id(self, opener: Opener) -> None:
        stores = opener()
        stores.directory.create_key(KEY, "one")
        assert stores.directory.delete_key(KEY)
        stores.directory.create_key(replace(KEY, created_at=6), "two")
        assert opener().directory.key("one") is None
        assert opener().directory.key("two") == replace(KEY, created_at=6)
