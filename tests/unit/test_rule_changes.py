"""Test changes of exclusion rules: values, limits and versions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.rpc.admin.rules import changed_rules
from hitmesh.adapters.factory import open_stores
from hitmesh.model.errors import NotFound, RefusedError
from hitmesh.model.exclusion import NO_RULES, ExclusionRule, RuleKind, SiteRules
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rule_changes import (
    MAX_RULES,
    MAX_RULES_EVER,
    MAX_VALUE_CHARS,
    checked_value,
    with_networks,
    with_rule,
    without_rule,
)
from hitmesh.model.rule_patterns import MAX_RULE_PROGRAM
from hitmesh.model.sites import Site
from tests.support.clock import ManualClock


def with_hosts(count: int) -> SiteRules:
    rules = tuple(ExclusionRule(str(n), RuleKind.HOST, f"h{n}.example", n, 0) for n in range(1, count + 1))
    return SiteRules(count, rules)


@pytest.mark.parametrize(
    ("kind", "value", "normal"),
    [
        (RuleKind.HOST, "*.Shop.Example.", "*.shop.example"),
        (RuleKind.HOST, "shop.example:8443", "shop.example:8443"),
        (RuleKind.REFERRER, "WWW.spam.example", "spam.example"),
        (RuleKind.COUNTRY, "at", "AT"),
        (RuleKind.PAGE, "(?i)^/Admin/", "(?i)^/Admin/"),
        (RuleKind.PAGE, r"\Qa/b", r"\Qa/b"),
        (RuleKind.NETWORK, "203.0.113.77/24", "203.0.113.0/24"),
        (RuleKind.NETWORK, "10.0.0.0/8", "10.0.0.0/8"),
        (RuleKind.NETWORK, "2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_value_is_stored_in_normal_form(kind: RuleKind, value: str, normal: str) -> None:
    assert checked_value(kind, value) == normal
    assert checked_value(kind, normal) == normal


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (RuleKind.HOST, "", ErrorReason.INVALID_FIELD),
        (RuleKind.HOST, "a.*.example", ErrorReason.INVALID_FIELD),
        (RuleKind.HOST, "https://a.example/", ErrorReason.INVALID_FIELD),
        (RuleKind.COUNTRY, "AUT", ErrorReason.INVALID_FIELD),
        (RuleKind.PAGE, "a)|(b", ErrorReason.INVALID_REGEXP),
        (RuleKind.PAGE, "(?=a)", ErrorReason.INVALID_REGEXP),
        (RuleKind.PAGE, "x" * (MAX_VALUE_CHARS + 1), ErrorReason.INVALID_FIELD),
        (RuleKind.USER_AGENT, "(?i)[a-z]{900}", ErrorReason.INVALID_REGEXP),
        (RuleKind.USER_AGENT, "(?i)[a-z]{190}", ErrorReason.FILTER_TOO_DEAR),
        (RuleKind.PAGE, "(?:(?:a?b?){100})$c", ErrorReason.FILTER_TOO_DEAR),
        (RuleKind.PAGE, "[ab]*a[ab]{200}c", ErrorReason.FILTER_TOO_DEAR),
        (RuleKind.PAGE, "(?:||||||||||||){1000}", ErrorReason.INVALID_REGEXP),
        (RuleKind.PAGE, "(?:||||||||||||){0,1000}", ErrorReason.INVALID_REGEXP),
        (RuleKind.PAGE, "(?:(?:||||||||||||){30}){30}", ErrorReason.INVALID_REGEXP),
        (RuleKind.HOST, "a\x00b", ErrorReason.INVALID_FIELD),
        (RuleKind.HOST, ".a", ErrorReason.INVALID_FIELD),
        (RuleKind.HOST, "a..b", ErrorReason.INVALID_FIELD),
        (RuleKind.REFERRER, "*.a..", ErrorReason.INVALID_FIELD),
        (RuleKind.COUNTRY, "ß", ErrorReason.INVALID_FIELD),
        (RuleKind.COUNTRY, "\u0131t", ErrorReason.INVALID_FIELD),
        (RuleKind.NETWORK, "2001:db8::%x/32", ErrorReason.INVALID_FIELD),
        (RuleKind.NETWORK, "fe80::%1/32", ErrorReason.INVALID_FIELD),
        (RuleKind.NETWORK, "203.0.113.77", ErrorReason.INVALID_FIELD),
        (RuleKind.NETWORK, "2001:db8::/64", ErrorReason.INVALID_FIELD),
        (RuleKind.NETWORK, "anywhere", ErrorReason.INVALID_FIELD),
    ],
)
def test_value_that_does_not_suit_its_kind_is_refused(kind: RuleKind, value: str, reason: ErrorReason) -> None:
    with pytest.raises(RefusedError) as caught:
        checked_value(kind, value)
    assert (caught.value.reason, caught.value.field) == (reason, "rule.value")


@pytest.mark.parametrize("value", ["::ffff:203.0.113.0/24", "::ffff:203.0.113.0/120", "::ffff:203.0.113.7"])
def test_ipv4_range_in_ipv6_notation_is_refused_with_the_range_to_write(value: str) -> None:
    with pytest.raises(RefusedError, match=r"write 203\.0\.113\.0/24$"):
        checked_value(RuleKind.NETWORK, value)


def test_every_version_keeps_its_rules() -> None:
    first = with_rule(NO_RULES, RuleKind.COUNTRY, "AT", now=10)
    second = with_rule(first, RuleKind.COUNTRY, "DE", now=20)
    third = without_rule(second, "1")
    assert [[rule.value for rule in third.at(version)] for version in range(4)] == [[], ["AT"], ["AT", "DE"], ["DE"]]
    assert with_rule(third, RuleKind.COUNTRY, "de", now=30) is third
    again = with_rule(third, RuleKind.COUNTRY, "AT", now=40)
    assert [(rule.id, rule.value) for rule in again.current] == [("2", "DE"), ("4", "AT")]


def test_rule_that_does_not_exist_or_was_removed_is_not_found() -> None:
    removed = without_rule(with_rule(NO_RULES, RuleKind.COUNTRY, "AT", now=0), "1")
    for id_ in ("1", "2"):
        with pytest.raises(NotFound):
            without_rule(removed, id_)


def test_number_of_rules_is_limited_at_a_time_and_over_time() -> None:
    removed = with_hosts(MAX_RULES_EVER)
    removed = replace(removed, rules=tuple(replace(rule, until=MAX_RULES_EVER) for rule in removed.rules))
    for full in (with_hosts(MAX_RULES), removed):
        with pytest.raises(RefusedError) as caught:
            with_rule(full, RuleKind.HOST, "more.example", now=0)
        assert caught.value.reason is ErrorReason.TOO_MANY_RULES
    assert len(with_rule(with_hosts(MAX_RULES - 1), RuleKind.HOST, "more.example", now=0).current) == MAX_RULES


def test_patterns_of_a_kind_are_limited_together() -> None:
    long = "[a-z]{60}"
    rules = with_rule(NO_RULES, RuleKind.PAGE, f"^/a{long}", now=0)
    rules = with_rule(rules, RuleKind.USER_AGENT, long, now=0)
    rules = with_rule(rules, RuleKind.PAGE, f"^/b{long}", now=0)
    with pytest.raises(RefusedError, match=f"{MAX_RULE_PROGRAM}") as caught:
        with_rule(rules, RuleKind.PAGE, f"^/c{long}", now=0)
    assert caught.value.reason is ErrorReason.FILTER_TOO_DEAR


def test_network_rules_need_stored_networks() -> None:
    with pytest.raises(RefusedError) as caught:
        with_rule(NO_RULES, RuleKind.NETWORK, "203.0.113.0/24", now=0)
    assert caught.value.reason is ErrorReason.RULE_NOT_APPLICABLE
    stored = with_networks(NO_RULES, stored=True, now=5)
    assert with_networks(stored, stored=True, now=9) is stored
    rules = with_rule(stored, RuleKind.NETWORK, "203.0.113.0/24", now=6)
    with pytest.raises(RefusedError) as caught:
        with_networks(rules, stored=False, now=7)
    assert caught.value.reason is ErrorReason.RULE_NOT_APPLICABLE
    assert with_networks(without_rule(rules, rules.current[0].id), stored=False, now=8).networks_since is None


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("paypal.com", "paypal.com"),
        ("www.PayPal.com", "paypal.com"),
        ("*.checkout.stripe.com", "stripe.com"),
        ("shop.example", "shop.example"),
        ("*.shop.example", "shop.example"),
        ("blog.shop.example", "shop.example"),
        ("outlet.example", "outlet.example"),
    ],
)
def test_referrer_that_is_always_dropped_is_refused(value: str, host: str) -> None:
    with pytest.raises(RefusedError) as caught:
        with_rule(NO_RULES, RuleKind.REFERRER, value, now=0, own_hosts=("shop.example", "www.outlet.example"))
    assert caught.value.reason is ErrorReason.RULE_NOT_APPLICABLE
    assert caught.value.variables == {"value": value, "host": host}


@pytest.mark.parametrize("value", ["spam.example", "*.example", "notpaypal.com", "com"])
def test_referrer_that_may_arrive_is_accepted(value: str) -> None:
    assert with_rule(NO_RULES, RuleKind.REFERRER, value, now=0, own_hosts=("shop.example",)).current[0].value == value


def test_host_rule_for_an_own_host_is_accepted() -> None:
    assert with_rule(NO_RULES, RuleKind.HOST, "shop.example", now=0, own_hosts=("shop.example",)).current


def test_rules_that_two_callers_create_from_the_same_version_both_exist() -> None:
    directory, name = open_stores("memory:", ManualClock(0)).directory, "merchants/demo/sites/shop"
    directory.create_site(Site(name, "UTC", "USD", b"secret"))
    others = ["other.example"]

    def create(value: str) -> SiteRules:
        return changed_rules(directory, name, lambda rules: with_created(rules, value))

    def with_created(rules: SiteRules, value: str) -> SiteRules:
        if others:
            create(others.pop())  # another caller, who has read the same version, stores a rule first
        return with_rule(rules, RuleKind.HOST, value, now=0)

    created = create("own.example")
    site = directory.site(name)
    assert site is not None
    assert site.rules == created
    assert [rule.value for rule in created.current] == ["other.example", "own.example"]
