"""Test when a key is refused, and that every service refuses an expired key from the same millisecond on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collector.admission import Refusal
from collector.gate import Gate
from collector.grants import resolve
from collector.refusal_budget import RefusalBudget
from hitmesh.access.callers import caller_of
from hitmesh.access.key_endings import ending_of
from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.adapters.factory import open_stores
from hitmesh.model.days import iso_second
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.reasons import ErrorReason, HitReason
from hitmesh.model.sites import IngestKey, KeyKind, Role, Site
from tests.support.clock import ManualClock

ENDS = 1_700_000_000_500
SITE = "merchants/demo/sites/shop"
KEY = IngestKey("server-1", "merchants/demo", KeyKind.SERVER, SITE, expires_at=ENDS, roles=MERCHANT_ROLES)
MESSAGE = "key server-1 expired at 2023-11-14T22:13:20Z: use the key that replaces this key, or create a key with "


def test_a_key_without_expiry_never_ends() -> None:
    assert ending_of(IngestKey("k", "merchants/demo", KeyKind.SERVER), 1 << 62) is None


def test_a_key_ends_at_its_expiry_and_not_before() -> None:
    assert ending_of(KEY, ENDS - 1) is None
    for now in (ENDS, ENDS + 1):
        found = ending_of(KEY, now)
        assert found is not None
        assert found.reason is ErrorReason.KEY_EXPIRED
        assert found.message == f"{MESSAGE}CreateIngestKey"
        assert found.variables == {"key_id": "server-1", "expire_time": "2023-11-14T22:13:20Z"}


@pytest.mark.parametrize("now", [0, ENDS])
def test_a_revoked_key_counts_as_revoked_even_after_its_expiry(now: int) -> None:
    found = ending_of(IngestKey("k", "merchants/demo", KeyKind.SERVER, revoked_at=5, expires_at=ENDS), now)
    assert found is not None
    assert found.reason is ErrorReason.KEY_REVOKED


def test_a_time_is_cut_to_seconds() -> None:
    assert [iso_second(ms) for ms in (0, 999, 1_000)] == ["1970-01-01T00:00:00Z"] * 2 + ["1970-01-01T00:00:01Z"]


@pytest.mark.parametrize(
    ("header", "site"),
    [(SITE, SITE), ("merchants/demo/sites/none", ""), ("merchants/other/sites/theirs", ""), ("no name", ""), ("", "")],
)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revoked_at": 5}, HitReason.KEY_REVOKED),
        ({"expires_at": 5}, HitReason.KEY_EXPIRED),
        ({"roles": frozenset({Role.READ})}, HitReason.PERMISSION_DENIED),
    ],
    ids=["revoked", "expired", "may not send"],
)
def test_refusals_of_a_merchant_wide_key_count_for_the_merchants_site_in_the_header(
    changes: dict[str, Any], reason: HitReason, header: str, site: str
) -> None:
    clock = ManualClock(10)
    directory = open_stores("memory:", clock).directory
    for name in (SITE, "merchants/other/sites/theirs"):
        directory.create_site(Site(name, "UTC", "USD", b"a secret of sixteen"))
    directory.create_key(IngestKey("wide-1", "merchants/demo", KeyKind.SERVER, **changes), "secret")
    (answer,) = resolve([("secret", header)], directory, clock.now()).values()
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.site, answer.key_id) == (reason, site, "wide-1")


def test_calls_streams_and_batches_refuse_an_expired_key_from_the_same_time_on() -> None:
    clock = ManualClock(ENDS - 1)
    directory = open_stores("memory:", clock).directory
    directory.create_site(Site(SITE, "UTC", "USD", b"a secret of sixteen"))
    directory.create_key(KEY, "secret")
    gate = Gate(directory, RefusalBudget(1_000.0), clock)

    def grant() -> None:
        (answer,) = resolve([("secret", "")], directory, clock.now()).values()
        if isinstance(answer, Refusal):
            assert (answer.reason, answer.site, answer.key_id) == (HitReason.KEY_EXPIRED, SITE, "server-1")
            time = str(answer.variables["expire_time"])
            raise Unauthenticated(
                answer.message, reason=ErrorReason(answer.reason), key_id=answer.key_id, expire_time=time
            )

    doors: list[Callable[[], object]] = [
        grant,
        lambda: gate.require("secret", "", ""),
        lambda: caller_of(directory, [("authorization", "Bearer secret")], now=clock.now()),
    ]
    for door in doors:
        door()
    assert gate.is_known("secret")
    clock.advance(1)
    for door in doors:
        with pytest.raises(Unauthenticated, match="expired at") as caught:
            door()
        assert caught.value.reason is ErrorReason.KEY_EXPIRED
        assert caught.value.variables == {"key_id": "server-1", "expire_time": "2023-11-14T22:13:20Z"}
    assert not gate.is_known("secret")
