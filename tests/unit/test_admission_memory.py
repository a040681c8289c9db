"""Cached visitor keys equal the computed keys, and the size of the cache is bounded."""

from __future__ import annotations

from collector.admission.visitor_memory import VisitorMemory
from hitmesh.model.keys import visitor_key

SECRETS = [b"secret of one", b"secret of other"]


def test_remembered_keys_are_those_of_visitor_key() -> None:
    memory = VisitorMemory(max_entries=8)
    ids = ["", "v1", "é" * 64, "v1", "x" * 255]
    for _ in range(3):
        for kind in ("visitor", "user"):
            secrets = [SECRETS[number % 2] for number in range(len(ids))]
            found = memory.keys_of(kind, secrets, [each.encode() for each in ids]).tolist()
            assert [tuple(row) for row in found] == [
                visitor_key(secret, kind, each) for secret, each in zip(secrets, ids, strict=True)
            ]


def test_memory_is_bounded_by_two_generations_and_what_one_call_brings() -> None:
    memory = VisitorMemory(max_entries=100)
    for start in range(0, 5_000, 10):
        memory.keys_of("visitor", [SECRETS[0]] * 10, [b"%d" % number for number in range(start, start + 10)])
        assert len(memory) <= 2 * (50 + 10)


def test_a_lookup_of_no_visitors_returns_no_keys() -> None:
    assert VisitorMemory().keys_of("visitor", [], []).shape == (0, 2)
