"""If a visitor denied consent, no bytes of the visitor's hits are kept (rule I4).

The bytes of a hit that does not decode are kept only if the visitor cannot have denied consent.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from collector.admission.batches import Grant, Refusal
from collector.admission.frames import MAX_HITS, Frame
from collector.json_batches import batch_of_json
from hitmesh.api.hit.v1 import hit_pb2
from tests.support.admitting import NOW, SERVER, SITE, a_batch, a_hit, admitted, grants

DENIED = hit_pb2.Context(
    consent=hit_pb2.Consent(analytics=hit_pb2.CONSENT_STATE_DENIED, advertising=hit_pb2.CONSENT_STATE_GRANTED)
)
GRANTED = hit_pb2.Context(consent=hit_pb2.Consent(analytics=hit_pb2.CONSENT_STATE_GRANTED))
NOT_TEXT = b"\x0a\x02\xff\xff"  # field 1 contains a text that is not UTF-8
REVOKED: dict[tuple[str, str], Grant | Refusal] = {(SERVER, ""): Refusal("KEY_REVOKED", "revoked", SITE.name, "k")}


def kept(batch: bytes | Frame, to: dict[tuple[str, str], Grant | Refusal] | None = None) -> bytes:
    """Admit a batch with at least one refused hit, and return the kept bytes of the refused hits."""
    rejected = admitted(batch, to=REVOKED if to is None else to).rejected
    assert rejected["hits"].sum() > 0
    return b"".join(rejected["original"].to_list())


def as_json(batch: dict[str, Any], may_send: bool = False) -> Frame:
    made = batch_of_json(json.dumps({"ingestKey": SERVER, **batch}).encode(), lambda key: may_send)
    return Frame(made.batch, "", "", NOW, made.faults, made.sent)


def a_json_hit(state: object = None, **fields: object) -> dict[str, Any]:
    context = {} if state is None else {"context": {"consent": {"analytics": state}}}
    return {"hitId": "h", "visitorId": "secret", "type": "HIT_TYPE_PAGE_VIEW", **context, **fields}


@pytest.mark.parametrize("place", [0, 1])
def test_a_refused_batch_with_a_denied_hit_keeps_nothing(place: int) -> None:
    hits = [a_hit("h0", visitor_id="secret"), a_hit("h1", visitor_id="secret")]
    assert b"secret" in kept(a_batch(*hits))
    hits[place].context.CopyFrom(DENIED)
    assert kept(a_batch(*hits)) == b""


def test_the_default_context_denies_for_hits_without_a_state() -> None:
    hit = a_hit(visitor_id="secret")
    assert kept(a_batch(hit, default_context=DENIED)) == b""
    assert kept(a_batch(a_hit(context=GRANTED), default_context=DENIED)) != b""
    late_context = hit_pb2.HitBatch(default_context=DENIED).SerializeToString()
    many = a_batch(*(a_hit(f"h{number}", visitor_id="v" * 90) for number in range(90)))
    assert len(many) > 8_000
    assert kept(many) != b""
    assert kept(many + late_context) == b""


def test_a_site_whose_default_is_denied_keeps_no_batch_without_a_state() -> None:
    batch, silent = a_batch(*[a_hit()] * (MAX_HITS + 1)), replace(SITE, consent_by_default=False)
    assert kept(batch, grants()) != b""
    assert kept(batch, grants(silent)) == b""
    assert kept(a_batch(*[a_hit(context=GRANTED)] * (MAX_HITS + 1)), grants(silent)) != b""


@pytest.mark.parametrize("state", [DENIED, GRANTED])
def test_a_batch_that_does_not_decode_keeps_bytes_unless_consent_may_be_denied(state: hit_pb2.Context) -> None:
    damaged = a_batch(a_hit(context=state)) + NOT_TEXT + b"\x32\x7f"
    assert (kept(damaged, grants()) == b"") == (state is DENIED)


@pytest.mark.parametrize("state", [DENIED, GRANTED])
@pytest.mark.parametrize("damage", [NOT_TEXT, b"\x07"])
@pytest.mark.parametrize("to", [None, grants()])
def test_a_hit_that_does_not_decode_keeps_bytes_unless_consent_may_be_denied(
    state: hit_pb2.Context, damage: bytes, to: dict[tuple[str, str], Grant | Refusal] | None
) -> None:
    hit = a_hit(context=state).SerializeToString() + damage
    batch = a_batch() + b"\x32" + bytes([len(hit)]) + hit
    assert len(hit) < 128
    assert (kept(batch, to) == b"") == (state is DENIED)


@pytest.mark.parametrize("state", ["CONSENT_STATE_DENIED", 2, "2"])
def test_a_refused_json_batch_with_a_denied_hit_keeps_nothing(state: object) -> None:
    assert b"secret" in kept(as_json({"hits": [a_json_hit(), a_json_hit("CONSENT_STATE_GRANTED"), a_json_hit(1)]}))
    assert kept(as_json({"hits": [a_json_hit(), a_json_hit(state)]})) == b""
    context = {"consent": {"analytics": state}}
    assert kept(as_json({"hits": [a_json_hit()], "defaultContext": context})) == b""
    assert kept(as_json({"default_context": context, "hits": [a_json_hit("CONSENT_STATE_GRANTED")]})) != b""


def test_a_json_hit_that_does_not_parse_keeps_nothing_if_consent_is_denied() -> None:
    broken = {"pageView": {"url": 7}}
    assert b"secret" in kept(as_json({"hits": [a_json_hit(**broken)]}, True), grants())
    denied = as_json({"hits": [a_json_hit("CONSENT_STATE_DENIED", **broken)]}, True)
    assert kept(denied, grants()) == b""
    assert admitted(denied).rejected["hit_id"].to_list() == [""]
