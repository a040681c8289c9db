"""Test rules I1 and I4: how a hit's visitor is determined, and the effects of consent."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from collector.admission.batches import truncated_network
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.keys import visitor_key
from tests.support.admitting import (
    EDGE,
    FIREFOX,
    NOW,
    SERVER,
    SITE,
    a_batch,
    a_frame,
    a_hit,
    admitted,
    grants,
    salt_of,
    stored,
    verdict,
)

AGENT = hit_pb2.Context(device=hit_pb2.Device(user_agent=FIREFOX))
DENIED = hit_pb2.Context(
    device=hit_pb2.Device(user_agent=FIREFOX), consent=hit_pb2.Consent(analytics=hit_pb2.CONSENT_STATE_DENIED)
)
GRANTED = hit_pb2.Context(consent=hit_pb2.Consent(analytics=hit_pb2.CONSENT_STATE_GRANTED))


def key_of(row: dict[str, Any]) -> tuple[int, int]:
    return row["visitor_hi"], row["visitor_lo"]


def at_edge(*hits: hit_pb2.Hit, ip: str = "203.0.113.77") -> bytes:
    return a_batch(*hits, key=EDGE, edge=hit_pb2.EdgeContext(client_ip=ip))


def test_the_visitor_id_is_hashed_with_the_secret_of_the_site() -> None:
    assert key_of(stored(a_hit(visitor_id="v1"))) == visitor_key(SITE.secret, "visitor", "v1")
    other = replace(SITE, secret=b"another secret")
    assert key_of(stored(a_hit(visitor_id="v1"), to=grants(other))) == visitor_key(other.secret, "visitor", "v1")


def test_the_same_visitor_id_on_two_sites_is_two_visitors() -> None:
    other = replace(SITE, name="merchants/m/sites/other", secret=b"another secret")
    to = {(SERVER, "a"): grants()[SERVER, ""], (SERVER, "b"): grants(other)[SERVER, ""]}
    found = admitted(a_frame(a_batch(a_hit()), site_header="a"), a_frame(a_batch(a_hit()), site_header="b"), to=to)
    assert found.hits["visitor_lo"].n_unique() == 2


def test_the_user_counts_only_where_the_site_opts_in() -> None:
    hit = a_hit(visitor_id="v1", user_id="u1")
    assert key_of(stored(hit)) == visitor_key(SITE.secret, "visitor", "v1")
    opted_in = grants(replace(SITE, identify_by_user_id=True))
    assert key_of(stored(hit, to=opted_in)) == visitor_key(SITE.secret, "user", "u1")
    assert key_of(stored(a_hit(visitor_id="v1"), to=opted_in)) == visitor_key(SITE.secret, "visitor", "v1")
    alone = a_hit(visitor_id="", user_id="u1")
    assert key_of(stored(alone, to=opted_in)) == visitor_key(SITE.secret, "user", "u1")
    assert verdict(alone) == ("REJECTED", "MISSING_FIELD", "visitor_id")


def test_without_an_id_network_agent_and_host_identify_for_a_local_day() -> None:
    found = admitted(at_edge(a_hit(visitor_id="", context=AGENT)))
    assert found.issues == []
    # NOW is 22:13 UTC on 14 November, which is 23:13 in Berlin on the same date.
    salt = salt_of(SITE.name, date(2023, 11, 14), date(2023, 11, 14))
    expected = visitor_key(salt, "daily", "203.0.113.0/24", FIREFOX, "shop.example")
    assert key_of(found.hits.row(0, named=True)) == expected


def test_the_salt_is_that_of_the_local_date_of_the_event() -> None:
    # Midnight in Berlin is at 23:00 UTC. The next midnight is 46 min 40 s after NOW, and the last midnight is 23 h 13
    # min 20 s before NOW.
    midnight = NOW - (23 * 3600 + 13 * 60 + 20) * 1000
    hits = [
        a_hit("before", visitor_id="", context=AGENT, at=midnight - 1),
        a_hit("after", visitor_id="", context=AGENT, at=midnight),
    ]
    batch = a_batch(*hits, key=EDGE, sent=NOW, edge=hit_pb2.EdgeContext(client_ip="203.0.113.77"))
    rows = admitted(batch).hits.sort("batch_index")
    for row, day in zip(rows.iter_rows(named=True), (13, 14), strict=True):
        salt = salt_of(SITE.name, date(2023, 11, day), date(2023, 11, 14))
        assert key_of(row) == visitor_key(salt, "daily", "203.0.113.0/24", FIREFOX, "shop.example")


def test_a_cookieless_hit_sent_again_after_local_midnight_keeps_its_visitor() -> None:
    # Midnight in Berlin is 23 h 13 min 20 s before NOW. The hit is created and sent 30 min before midnight, and sent
    # again 20 min after midnight.
    midnight = NOW - (23 * 3600 + 13 * 60 + 20) * 1000
    created = midnight - 30 * 60_000
    keys = []
    for sent in (created + 1_000, midnight + 20 * 60_000):
        edge = hit_pb2.EdgeContext(client_ip="203.0.113.77")
        edge.edge_receive_time.FromMilliseconds(sent + 300)
        batch = a_batch(a_hit(visitor_id="", context=AGENT, at=created), key=EDGE, sent=sent, edge=edge)
        (row,) = admitted(batch).hits.iter_rows(named=True)
        assert row["event_time"] == created + 300
        keys.append((key_of(row), row["hit_hash"], row["content_hash"]))
    assert keys[0] == keys[1]


def test_a_cookieless_hit_sent_again_from_another_network_is_of_another_visitor() -> None:
    """A hit sent again from another network belongs to another visitor (rule I1), so it is no copy (rule D1)."""
    networks = ("203.0.113.77", "203.0.113.200", "198.51.100.1")
    rows = [admitted(at_edge(a_hit(visitor_id="", context=AGENT), ip=ip)).hits.row(0, named=True) for ip in networks]
    assert key_of(rows[0]) == key_of(rows[1]) != key_of(rows[2])
    by_cookie = [admitted(at_edge(a_hit(visitor_id="v"), ip=ip)).hits.row(0, named=True) for ip in networks]
    assert len({key_of(row) for row in by_cookie}) == 1


@pytest.mark.parametrize(
    ("batch", "why"),
    [
        (a_batch(a_hit(visitor_id="", context=AGENT)), "a server may not say the client's address"),
        (a_batch(a_hit(visitor_id="", context=AGENT), edge=hit_pb2.EdgeContext(client_ip="203.0.113.77")), "no edge"),
        (at_edge(a_hit(visitor_id="")), "no user agent"),
        (at_edge(a_hit(visitor_id="", context=AGENT), ip="localhost"), "no address"),
    ],
)
def test_a_hit_that_nothing_identifies_is_refused(batch: bytes, why: str) -> None:
    (issue,) = admitted(batch).issues
    assert (issue.outcome, issue.reason, issue.field) == ("REJECTED", "MISSING_FIELD", "visitor_id"), why


def test_addresses_are_truncated() -> None:
    assert truncated_network("203.0.113.77") == "203.0.113.0/24"
    assert truncated_network("::ffff:203.0.113.77") == "203.0.113.0/24"
    assert truncated_network("2001:db8:1:2:3:4:5:6") == "2001:db8:1::/48"
    assert truncated_network("203.0.113.77:80") == ""


def test_no_consent_leaves_nothing_behind_but_a_count() -> None:
    found = admitted(a_batch(a_hit("h1", context=DENIED), a_hit("h2")))
    assert [(issue.index, issue.reason) for issue in found.issues] == [(0, "CONSENT_DENIED")]
    assert found.accepted.tolist() == [1]
    assert found.rejected.select("hits", "hit_id", "original").row(0) == (1, "", b"")


def test_a_hit_without_consent_and_with_another_fault_is_kept_without_its_bytes() -> None:
    order = a_hit(type=8, order=hit_pb2.Order(order_id="1", currency="XXY"), context=DENIED)
    found = admitted(a_batch(order))
    assert found.rejected["original"].to_list() == [b""]


def test_cookieless_counting_takes_a_denied_hit_by_the_daily_salt() -> None:
    cookieless = grants(replace(SITE, cookieless_counting=True))
    found = admitted(at_edge(a_hit(context=DENIED, visitor_id="v", user_id="u")), to=cookieless)
    salt = salt_of(SITE.name, date(2023, 11, 14), date(2023, 11, 14))
    expected = visitor_key(salt, "daily", "203.0.113.0/24", FIREFOX, "shop.example")
    assert key_of(found.hits.row(0, named=True)) == expected
    found = admitted(a_batch(a_hit(context=DENIED)), to=cookieless)
    assert [issue.reason for issue in found.issues] == ["CONSENT_DENIED"]


def test_a_hit_without_consent_follows_the_default_of_the_site() -> None:
    strict = grants(replace(SITE, consent_by_default=False))
    assert verdict(a_hit(), to=strict) == ("REJECTED", "CONSENT_DENIED", "context.consent.analytics")
    assert stored(a_hit(context=GRANTED), to=strict)["hit_id"] == "h1"


def test_consent_of_the_batch_holds_for_hits_without_consent_of_their_own() -> None:
    found = admitted(a_batch(a_hit("h1"), a_hit("h2", context=GRANTED), default_context=DENIED))
    assert [(issue.index, issue.reason) for issue in found.issues] == [(0, "CONSENT_DENIED")]
