"""Test a site's exclusion rules in the directory, and the rules version that each generation stores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hitmesh.adapters.factory import Stores
from hitmesh.model.errors import NotFound
from hitmesh.model.exclusion import NO_RULES, RuleKind
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.rule_changes import with_networks, with_rule, without_rule
from hitmesh.model.sites import Site, SiteDay
from tests.support.clock import ManualClock
from tests.support.opened import Opener

SHOP = Site("merchants/m/sites/shop", "UTC", "EUR", b"0123456789abcdef", 7)
BLOG = replace(SHOP, name="merchants/n/sites/blog")
FIRST = with_rule(NO_RULES, RuleKind.PAGE, '^/"ä\\.', now=5)
DAY = SiteDay(SHOP.name, 20_000)
LEDGER = LedgerEntry(3, 2, 0, 1, 7, 7)


class TestSiteRules:
    def test_rules_come_back_as_they_were_changed(self, opener: Opener) -> None:
        opener().directory.create_site(SHOP)
        opener().directory.create_site(BLOG)
        rules = NO_RULES
        for changed in (
            with_networks(NO_RULES, stored=True, now=4),
            with_rule(with_networks(NO_RULES, stored=True, now=4), RuleKind.NETWORK, "203.0.113.0/24", now=6),
        ):
            assert opener().directory.change_rules(SHOP.name, changed)
            rules = changed
        removed = without_rule(rules, rules.current[0].id)
        assert opener().directory.change_rules(SHOP.name, removed)
        assert opener().directory.site(SHOP.name) == replace(SHOP, rules=removed)
        assert opener().directory.site(BLOG.name) == BLOG
        assert list(opener().directory.sites("merchants/m", "", 9)) == [replace(SHOP, rules=removed)]

    def test_site_is_created_with_rules(self, stores: Stores) -> None:
        site = replace(SHOP, rules=with_networks(NO_RULES, stored=True, now=7))
        assert stores.directory.create_site(site) == site
        assert stores.directory.change_rules(SHOP.name, with_rule(site.rules, RuleKind.COUNTRY, "AT", now=9))

    def test_only_the_next_version_is_stored(self, stores: Stores) -> None:
        stores.directory.create_site(SHOP)
        assert stores.directory.change_rules(SHOP.name, FIRST)
        assert stores.directory.change_rules(SHOP.name, FIRST)
        other = with_rule(NO_RULES, RuleKind.COUNTRY, "AT", now=5)
        assert not stores.directory.change_rules(SHOP.name, other)
        assert not stores.directory.change_rules(SHOP.name, NO_RULES)
        found = stores.directory.site(SHOP.name)
        assert found is not None
        assert found.rules == FIRST

    def test_rules_of_a_site_that_does_not_exist_cannot_be_changed(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            stores.directory.change_rules(SHOP.name, FIRST)
        assert stores.directory.site(SHOP.name) is None

    def test_change_made_elsewhere_is_seen_within_a_second(self, opener: Opener, clock: ManualClock) -> None:
        here, elsewhere = opener().directory, opener().directory
        here.create_site(SHOP)
        assert here.site(SHOP.name) == elsewhere.site(SHOP.name) == SHOP
        assert elsewhere.change_rules(SHOP.name, FIRST)
        assert elsewhere.site(SHOP.name) == replace(SHOP, rules=FIRST)
        clock.advance(1_000)
        assert here.site(SHOP.name) == replace(SHOP, rules=FIRST)

    def test_generation_keeps_the_version_of_its_rules(self, opener: Opener) -> None:
        generations, numbers = opener().generations, []
        for rules, seen in ((0, 0), (3, 1)):
            numbers.append(generations.begin(DAY))
            generations.publish(
                DAY,
                numbers[-1],
                logic_version=2,
                rules_version=rules,
                read_through={},
                seen_sequence=seen,
                ledger=LEDGER,
                carry=b"c",
                now=10,
                keep_until=99,
            )
        assert opener().generations.current(DAY.site, DAY.day, DAY.day + 1)[DAY.day].rules_version == 3
        version = GenerationVersion(numbers[0], 2, {}, LEDGER, b"c", 0)
        for to in (version, version):
            entry = opener().generations.restore(DAY, to, seen_sequence=2, now=20, keep_until=99)
            assert (entry.generation, entry.rules_version) == (numbers[0], 0)
        back = replace(version, generation=numbers[1], rules=3)
        opener().generations.restore(DAY, back, seen_sequence=3, now=30, keep_until=99)
        assert opener().generations.current(DAY.site, DAY.day, DAY.day + 1)[DAY.day].rules_version == 3
