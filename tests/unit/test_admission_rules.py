"""Test exclusion rules in admission.

Each stored hit records whether an exclusion rule excludes the hit. The network of a hit is stored only if the site
allows it.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from collector.admission import Admitted
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.exclusion import NO_RULES, RuleKind, SiteRules
from hitmesh.model.reasons import HitFlag
from hitmesh.model.rule_changes import with_networks, with_rule
from hitmesh.model.sites import KeyKind
from hitmesh.model.zones import DAY_MS
from processor.rules.day_rules import DayRules
from tests.support.admitting import EDGE, FIREFOX, NOW, SITE, a_batch, a_hit, admitted, grant, grants

OTHER = replace(SITE, name="merchants/n/sites/other")
WITH_NETWORKS = with_networks(NO_RULES, stored=True, now=0)
RULES = (
    (RuleKind.HOST, "*.example", HitFlag.RULE_HOST),
    (RuleKind.HOST, "shop.example", HitFlag.RULE_HOST),
    (RuleKind.PAGE, "^/admin/", HitFlag.RULE_PAGE),
    (RuleKind.COUNTRY, "AT", HitFlag.RULE_COUNTRY),
    (RuleKind.USER_AGENT, "(?i)firefox", HitFlag.RULE_USER_AGENT),
    (RuleKind.REFERRER, "*.spam.test", HitFlag.RULE_REFERRER),
    (RuleKind.NETWORK, "203.0.0.0/16", HitFlag.RULE_NETWORK),
)


def rules_of(*wanted: tuple[RuleKind, str], base: SiteRules = WITH_NETWORKS) -> SiteRules:
    for kind, value in wanted:
        base = with_rule(base, kind, value, now=0)
    return base


def the_hit() -> hit_pb2.Hit:
    page = hit_pb2.PageView(url="https://shop.example/admin/1", referrer="https://www.a.spam.test/x")
    return a_hit(page_view=page, context=hit_pb2.Context(device=hit_pb2.Device(user_agent=FIREFOX)))


def at_edge(*hits: hit_pb2.Hit, ip: str = "203.0.113.77", country: str = "AT", header: str = "") -> bytes:
    return a_batch(*hits, key=EDGE, edge=hit_pb2.EdgeContext(client_ip=ip, country=country))


def admit_for(rules: SiteRules, *batches: bytes, consent_by_default: bool = True) -> Admitted:
    site = replace(SITE, rules=rules, consent_by_default=consent_by_default, cookieless_counting=True)
    return admitted(*batches, to=grants(site))


@pytest.mark.parametrize(("kind", "value", "flag"), RULES)
def test_hit_that_matches_a_rule_gets_the_flag_of_its_kind(kind: RuleKind, value: str, flag: HitFlag) -> None:
    found = admit_for(rules_of((kind, value)), at_edge(the_hit()))
    assert found.hits["flags"].to_list() == [flag]
    assert found.accepted.tolist() == [1]
    assert admit_for(WITH_NETWORKS, at_edge(the_hit())).hits["flags"].to_list() == [0]


def test_settlement_decides_the_same_hits_from_the_stored_columns() -> None:
    hits = [
        the_hit(),
        a_hit("h2", page_view=hit_pb2.PageView(url="https://b.shop.example/admin", referrer="https://spam.test/")),
        a_hit("h3", type=hit_pb2.HIT_TYPE_SCREEN_VIEW, screen_view=hit_pb2.ScreenView(screen_name="/admin/screen")),
    ]
    batches = [at_edge(*hits), at_edge(*hits, ip="2001:db8:1::1", country=""), a_batch(*hits, batch_id="b3")]
    for kind, value, _ in RULES:
        rules = rules_of((kind, value))
        live = admit_for(rules, *batches).hits
        raw = admit_for(WITH_NETWORKS, *batches).hits
        decided = DayRules(rules, {NOW // DAY_MS: rules.version}).decided(raw)
        assert decided["flags"].to_list() == live["flags"].to_list()
        assert decided["flags"].sum()


def test_rules_of_a_site_touch_no_other_site() -> None:
    with_rules = replace(SITE, rules=rules_of((RuleKind.COUNTRY, "AT")))
    to = {(EDGE, ""): grant(KeyKind.EDGE, with_rules), ("other", ""): grant(KeyKind.EDGE, OTHER)}
    edge = hit_pb2.EdgeContext(client_ip="203.0.113.77", country="AT")
    batches = (a_batch(the_hit(), key=EDGE, edge=edge), a_batch(the_hit(), key="other", edge=edge))
    found = admitted(*batches, to=to).hits.select("site", "flags", "network").sort("site")
    assert found.rows() == [(SITE.name, HitFlag.RULE_COUNTRY, "203.0.113.0/24"), (OTHER.name, 0, None)]


def test_network_is_stored_only_where_the_site_allows_and_with_consent() -> None:
    assert admit_for(NO_RULES, at_edge(the_hit())).hits["network"].to_list() == [None]
    assert admit_for(WITH_NETWORKS, at_edge(the_hit(), ip="2001:db8:1:2::3")).hits["network"].to_list() == [
        "2001:db8:1::/48"
    ]
    assert admit_for(WITH_NETWORKS, a_batch(the_hit())).hits["network"].to_list() == [None]
    denied = admit_for(WITH_NETWORKS, at_edge(the_hit()), consent_by_default=False)
    assert denied.hits["network"].to_list() == [None]
    assert denied.hits.height == 1


def test_rules_of_a_day_without_a_version_keep_the_flags_of_the_collector() -> None:
    live = admit_for(rules_of((RuleKind.COUNTRY, "AT")), at_edge(the_hit())).hits
    assert DayRules(NO_RULES, {}).decided(live).equals(live)
    anew = DayRules(rules_of((RuleKind.COUNTRY, "DE")), {NOW // DAY_MS: 2}).decided(live)
    assert anew["flags"].to_list() == [0]
    bots = live.with_columns((pl.col("flags") | int(HitFlag.BOT_UA)).alias("flags"))
    assert DayRules(rules_of((RuleKind.COUNTRY, "DE")), {NOW // DAY_MS: 2}).decided(bots)["flags"].to_list() == [
        HitFlag.BOT_UA
    ]
