"""Data versions that a later report can request. A version is an opaque token of bounded size. Pure.

A version stands for the settled entries of some sites on a range of UTC days. The token contains a watermark, not a
list of entries. For a single site, the watermark is the highest sequence number. For several sites, whose sequence
numbers are not comparable, the watermark is the last publication time. A checksum shows whether a later read finds the
same entries. If settlers' clocks differ, or if a store was restored from a backup, two reads of a version may find
different entries.

The token is authenticated with the sites' secrets, so a token that was issued for other sites is refused as invalid.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hitmesh.model.days import date_text
from hitmesh.model.erasures import ErasureMark
from hitmesh.model.errors import RefusedError
from hitmesh.model.history import PastEntry, Unknown, entry_as_of
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.zones import DAY_MS

_PREFIX: Final = "k1-"
_FIELDS: Final = struct.Struct(">iiQ8s")
_MAC_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 8
_ENTRY: Final = struct.Struct(">iqqi")
MAX_TOKEN_CHARS: Final = 64
"""Maximum length of a pinnable data version, for any range."""


class Settled(NamedTuple):
    """The fields of a site-day's generation entry that are equal in every read of the same version."""

    sequence: int
    generation: int
    logic_version: int
    published_at: int


@dataclass(frozen=True, slots=True)
class Pin:
    """A version: the settled entries of some sites on the UTC days `days`.

    Attributes:
        days: the version's days, each of which was settled or had no hits.
        watermark: for a single site, the highest sequence number; for several sites, the last publication time in UTC
            ms; 0 if there are no entries.
        checksum: a digest of the entries.
    """

    days: range
    watermark: int
    checksum: bytes


def pin_of(sites: Sequence[Site], days: range, entries: Mapping[SiteDay, Settled]) -> Pin:
    """Return the version that stands for some sites' entries on some days."""
    by_time = len(sites) > 1
    marks = (entry.published_at if by_time else entry.sequence for entry in entries.values())
    return Pin(days, max(marks, default=0), _checksum(entries))


def token_of(pin: Pin, sites: Sequence[Site]) -> str:
    """Return the token of a version."""
    fields = _FIELDS.pack(pin.days.start, pin.days.stop, pin.watermark, pin.checksum)
    return _PREFIX + base64.urlsafe_b64encode(fields + _mac(fields, sites)).decode().rstrip("=")


def pin_in(token: str, sites: Sequence[Site], site: str) -> Pin:
    """Return the version that a token stands for.

    Args:
        token: the text from the request.
        sites: the sites that the request names.
        site: the site name in the request, for the error message.

    Raises:
        RefusedError: the token is not a version of these sites (DATA_VERSION_MISMATCH).
    """
    content = _content(token)
    fields, mac = content[: _FIELDS.size], content[_FIELDS.size :]
    if len(fields) != _FIELDS.size or not hmac.compare_digest(mac, _mac(fields, sites)):
        raise RefusedError(
            f"data_version {token[:64]!r} is not a version of {site}: use the "
            'data_version of an answer about the same sites with "pinnable": true',
            field="data_version",
            reason=ErrorReason.DATA_VERSION_MISMATCH,
            value=token,
            site=site,
        )
    start, stop, watermark, checksum = _FIELDS.unpack(fields)
    return Pin(range(start, stop), watermark, checksum)


def refuse_other_days(pin: Pin, days: range) -> None:
    """Refuse a report about days that the version does not have.

    Raises:
        RefusedError: the version does not have the report's days (DATA_VERSION_MISMATCH).
    """
    if days and not (pin.days.start <= days.start and days.stop <= pin.days.stop):
        first, last = _dates(pin.days)
        value = " to ".join(_dates(days))
        raise RefusedError(
            f"the report needs the UTC days {value}, and data_version has {first} to {last}: ask for days of the "
            "version, or leave data_version out",
            field="data_version",
            reason=ErrorReason.DATA_VERSION_MISMATCH,
            value=value,
            first=first,
            last=last,
        )


def entries_at(
    pin: Pin,
    sites: Sequence[Site],
    histories: Iterable[Mapping[int, Sequence[PastEntry]]],
    now: int,
    marks_of: Callable[[str], Sequence[ErasureMark]],
) -> dict[SiteDay, Settled]:
    """Return the entries of a version.

    Args:
        pin: the version.
        sites: the version's sites.
        histories: the entries of the version's days, for each site.
        now: the current time in UTC ms.
        marks_of: returns the erasure marks of a site; called only if an entry is no longer kept.

    Raises:
        RefusedError: an entry is no longer kept, because its time has passed (DATA_VERSION_EXPIRED) or because a
            visitor was erased (DATA_VERSION_ERASED).
    """
    found: dict[SiteDay, Settled] = {}
    for site, history in zip(sites, histories, strict=True):
        for day, past in sorted(history.items()):
            entry = entry_as_of(past, pin.watermark, by_time=len(sites) > 1)
            if isinstance(entry, Unknown):
                raise _expired(site.name, date_text(day))
            if entry is not None and not entry.is_kept(now):
                gone = _erased if _ended_by_erasure(entry, past, marks_of(site.name)) else _expired
                raise gone(site.name, date_text(day))
            if entry is not None:
                found[SiteDay(site.name, day)] = Settled(
                    entry.sequence, entry.generation, entry.logic_version, entry.published_at
                )
    if _checksum(found) != pin.checksum:
        raise RefusedError(
            "data_version has expired: its numbers are no longer stored. Ask without data_version for the current "
            "numbers",
            field="data_version",
            reason=ErrorReason.DATA_VERSION_EXPIRED,
        )
    return found


def _expired(site: str, day: str) -> RefusedError:
    return RefusedError(
        f"data_version has expired: the numbers of {site} on the UTC day {day} are no longer kept. Ask without "
        "data_version for the current numbers",
        field="data_version",
        reason=ErrorReason.DATA_VERSION_EXPIRED,
        site=site,
        day=day,
    )


def _erased(site: str, day: str) -> RefusedError:
    return RefusedError(
        f"data_version is no longer available: a visitor of {site} was erased, and the earlier numbers of the UTC "
        f"day {day} are removed. Ask without data_version for the current numbers",
        field="data_version",
        reason=ErrorReason.DATA_VERSION_ERASED,
        site=site,
        day=day,
    )


def _ended_by_erasure(entry: PastEntry, past: Sequence[PastEntry], marks: Sequence[ErasureMark]) -> bool:
    """Return whether a visitor was erased after an entry's publication and before the entry would have expired.

    An erasure mark does not name days, so the result can be true although the entry was removed for another reason.
    """
    later = (each.published_at for each in past if each.sequence > entry.sequence)
    would_expire = min(later, default=entry.published_at) + KEEP_REPLACED_DAYS * DAY_MS
    return any(entry.published_at <= mark.created_at < would_expire for mark in marks)


def _content(token: str) -> bytes:
    """Return the decoded token, or empty bytes if the text is not a token."""
    if not token.startswith(_PREFIX) or len(token) > MAX_TOKEN_CHARS:
        return b""
    text = token[len(_PREFIX) :]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _mac(fields: bytes, sites: Sequence[Site]) -> bytes:
    """Return the authentication code of a token's fields.

    The code's key is derived from the names and secrets of all sites, in name order.
    """
    key = hashlib.blake2b(digest_size=32, person=b"data_version key")
    for site in sorted(sites, key=lambda site: site.name):
        for part in (site.name.encode(), site.secret):
            key.update(len(part).to_bytes(4, "big") + part)
    return hashlib.blake2b(fields, digest_size=_MAC_BYTES, key=key.digest(), person=b"data_version").digest()


def _checksum(entries: Mapping[SiteDay, Settled]) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_BYTES, person=b"pinned entries")
    last_site = ""
    for (site, day), entry in sorted(entries.items()):
        if site != last_site:
            digest.update(site.encode() + b"\0")
            last_site = site
        digest.update(_ENTRY.pack(day, entry.sequence, entry.generation, entry.logic_version))
    return digest.digest()


def _dates(days: range) -> tuple[str, str]:
    return date_text(days.start), date_text(days.stop - 1)
