"""Test data versions: opaque, bounded in size, bound to sites and days, and refused if entries are missing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import RefusedError
from hitmesh.model.history import MAX_PAST_ENTRIES, PastEntry
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.zones import DAY_MS
from reporter.answer.pins import (
    MAX_TOKEN_CHARS,
    Pin,
    Settled,
    entries_at,
    pin_in,
    pin_of,
    refuse_other_days,
    token_of,
)

SHOP = Site("merchants/demo/sites/shop", "UTC", "USD", b"secret of the shop")
BLOG = Site("merchants/demo/sites/blog", "UTC", "USD", b"secret of the blog")
KEPT_MS = KEEP_REPLACED_DAYS * DAY_MS
RIVAL = Site("merchants/rival/sites/shop", "UTC", "USD", b"secret of a rival")
DAYS = range(20_000, 20_003)
ENTRIES = {SiteDay(SHOP.name, 20_000): Settled(3, 1, 2, 500), SiteDay(SHOP.name, 20_002): Settled(7, 2, 2, 800)}
PIN = pin_of([SHOP], DAYS, ENTRIES)
HISTORY = {
    20_000: [PastEntry(3, 1, 2, 500, 5_000), PastEntry(8, 4, 2, 900, None)],
    20_001: [PastEntry(9, 1, 2, 950, None)],
    20_002: [PastEntry(5, 1, 2, 600, 0), PastEntry(7, 2, 2, 800, None)],
}


def no_marks(site: str) -> Sequence[ErasureMark]:
    raise AssertionError(f"the marks of {site} are read, although all entries are kept")


def refused(token: str, sites: Sequence[Site] = (SHOP,)) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        pin_in(token, sites, "merchants/demo/sites/shop")
    return caught.value


def expired(
    history: Mapping[int, Sequence[PastEntry]],
    now: int = 1_000,
    pin: Pin = PIN,
    marks: Sequence[ErasureMark] = (),
    reason: ErrorReason = ErrorReason.DATA_VERSION_EXPIRED,
) -> str:
    with pytest.raises(RefusedError) as caught:
        entries_at(pin, [SHOP], [history], now, lambda site: marks)
    assert caught.value.reason is reason
    return caught.value.message


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 5_000_000), st.integers(0, 2**63 - 1), st.binary(min_size=8))
def test_a_token_stands_for_its_version_and_has_a_bounded_size(
    start: int, days: int, watermark: int, checksum: bytes
) -> None:
    pin = Pin(range(start, min(start + days, 2**31 - 1)), watermark, checksum[:8])
    token = token_of(pin, [SHOP, BLOG])
    assert len(token) <= MAX_TOKEN_CHARS
    assert pin_in(token, [BLOG, SHOP], "") == pin


@pytest.mark.parametrize("sites", [(RIVAL,), (BLOG,), (SHOP, BLOG), (replace(SHOP, secret=b"another secret"),)])
def test_a_token_of_other_sites_is_refused_like_any_other_text(sites: tuple[Site, ...]) -> None:
    foreign, garbage = refused(token_of(PIN, [SHOP]), sites), refused("k1-nothing", sites)
    assert foreign.reason is garbage.reason is ErrorReason.DATA_VERSION_MISMATCH
    texts = {error.message.replace(str(error.variables["value"]), "…") for error in (foreign, garbage)}
    assert len(texts) == 1


@given(st.data())
def test_a_changed_token_is_refused(data: st.DataObject) -> None:
    token = token_of(PIN, [SHOP])
    place = data.draw(st.integers(3, len(token) - 1))
    char = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
    changed = token[:place] + char + token[place + 1 :]
    if base64.urlsafe_b64decode(changed[3:] + "==") != base64.urlsafe_b64decode(token[3:] + "=="):
        assert refused(changed).reason is ErrorReason.DATA_VERSION_MISMATCH


@pytest.mark.parametrize("text", ["s2.p10", "k1-", "k1-é", "k1-" + "A" * 61, "A" * 10_000, "k1-*", "\0"])
def test_a_text_that_is_no_token_is_refused_with_a_short_message(text: str) -> None:
    found = refused(text)
    assert found.reason is ErrorReason.DATA_VERSION_MISMATCH
    assert len(found.message) < 400


def test_other_days_than_those_of_the_version_are_refused() -> None:
    for days in (DAYS, range(20_001, 20_002), range(0)):
        refuse_other_days(PIN, days)
    for days in (range(19_999, 20_001), range(20_002, 20_004)):
        with pytest.raises(RefusedError, match="2024-10-04 to 2024-10-06: ask for days of the version") as caught:
            refuse_other_days(PIN, days)
        assert caught.value.reason is ErrorReason.DATA_VERSION_MISMATCH


def test_entries_are_found_as_of_the_version() -> None:
    assert entries_at(PIN, [SHOP], [HISTORY], 5_000, no_marks) == ENTRIES


def test_entries_of_several_sites_are_found_by_time() -> None:
    entries = {**ENTRIES, SiteDay(BLOG.name, 20_001): Settled(90, 3, 2, 700)}
    pin = pin_of([SHOP, BLOG], DAYS, entries)
    assert pin.watermark == 800
    histories = [HISTORY, {20_001: [PastEntry(90, 3, 2, 700, None)]}]
    assert entries_at(pin, [SHOP, BLOG], histories, 1_000, no_marks) == entries


def test_a_version_expires_with_the_rows_of_any_of_its_entries() -> None:
    assert "on the UTC day 2024-10-04 are no longer kept" in expired(HISTORY, now=5_001)
    gone = {**HISTORY, 20_002: [PastEntry(7, 2, 2, 800, 0), PastEntry(9, 3, 2, 990, None)]}
    assert "Ask without data_version for the current numbers" in expired(gone)


def test_a_version_expires_if_its_entries_are_not_found_again() -> None:
    assert "its numbers are no longer stored" in expired({})
    assert "its numbers are no longer stored" in expired({**HISTORY, 20_000: HISTORY[20_000][1:]})
    long = [PastEntry(100 + at, at, 2, 10_000 + at, None) for at in range(MAX_PAST_ENTRIES)]
    assert "2024-10-05 are no longer kept" in expired({**HISTORY, 20_001: long})


@pytest.mark.parametrize(
    ("marked_at", "is_erased"), [(499, False), (500, True), (900 + KEPT_MS - 1, True), (900 + KEPT_MS, False)]
)
def test_version_is_erased_if_a_visitor_was_erased_before_its_numbers_would_have_expired(
    marked_at: int, is_erased: bool
) -> None:
    mark = ErasureMark(SHOP.name, "d", marked_at, marked_at, "r")
    reason = ErrorReason.DATA_VERSION_ERASED if is_erased else ErrorReason.DATA_VERSION_EXPIRED
    message = expired(HISTORY, 5_001, marks=[mark], reason=reason)
    assert ("a visitor of merchants/demo/sites/shop was erased" in message) == is_erased
