"""Checks of the values that callers give for a key: roles, display name, expiry and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control.rpc.admin import site_values
from control.rpc.admin.key_messages import ROLES
from hitmesh.access.roles import RIGHTS
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.days import iso_second
from hitmesh.model.errors import RefusedError
from hitmesh.model.sites import KeyKind, Role
from hitmesh.model.zones import DAY_MS

MAX_LIFETIME_MS: Final = 3_652 * DAY_MS
"""Ten years."""
DEFAULT_OVERLAP_MS: Final = 7 * DAY_MS
MAX_OVERLAP_DAYS: Final = 30
_MS_NS: Final = 1_000_000
_SECOND_NS: Final = 1_000_000_000


def checked_roles(kind: KeyKind, wanted: Sequence[pb.KeyRole.ValueType], site: str | None) -> frozenset[Role]:
    """Return the roles for a key; without wanted roles, the default role of the key's kind.

    Raises:
        RefusedError: a role is unknown, or a key of this kind or for one site cannot have the role.
    """
    for number in wanted:
        if number not in ROLES:
            raise RefusedError(
                f"role {number} is not a role: use KEY_ROLE_SEND, KEY_ROLE_READ or KEY_ROLE_ADMINISTER",
                field="key.roles",
                value=number,
            )
        if ROLES[number] not in RIGHTS[kind].roles:
            raise RefusedError(
                f"a key of kind {kind.value} cannot have the role {ROLES[number].value}: leave this role out, or "
                "create a server key",
                field="key.roles",
                value=ROLES[number].value,
                key_kind=kind.value,
            )
    roles = frozenset(ROLES[number] for number in wanted)
    if Role.ADMINISTER in roles and site is not None:
        raise RefusedError(
            "a key with the role administer is for all sites of its merchant: leave out site, or leave out this role",
            field="key.roles",
            value=Role.ADMINISTER.value,
        )
    return roles or RIGHTS[kind].default


def checked_display_name(name: str) -> str:
    """Check a display name, and return the name.

    Raises:
        RefusedError: the name is too long, or has characters that cannot be printed.
    """
    return site_values.checked_display_name(name, "key.display_name")


def checked_expiry(time: Timestamp, now: int) -> int:
    """Return a key's expiry in UTC ms.

    Raises:
        RefusedError: the time is not in the future, or is more than 10 years from now.
    """
    expires_at = time.seconds * 1_000 + time.nanos // 1_000_000
    last = now + MAX_LIFETIME_MS
    if not now < expires_at <= last or not 0 <= time.nanos < 1_000_000_000:
        raise RefusedError(
            f"expire_time is not between {iso_second(now)} (now) and {iso_second(last)}: send a time in the future, at "
            "most 10 years from now, or leave out expire_time",
            field="key.expire_time",
            first=iso_second(now),
            last=iso_second(last),
        )
    return expires_at


def checked_overlap(overlap: Duration | None) -> int:
    """Return the time in ms for which a replaced key stays valid; 7 days for None.

    Raises:
        RefusedError: the overlap is negative, longer than 30 days, or not a valid duration.
    """
    if overlap is None:
        return DEFAULT_OVERLAP_MS
    ns = overlap.seconds * _SECOND_NS + overlap.nanos
    if not 0 <= ns <= MAX_OVERLAP_DAYS * DAY_MS * _MS_NS or not 0 <= overlap.nanos < _SECOND_NS:
        raise RefusedError(
            f"overlap is not 0 to {MAX_OVERLAP_DAYS} days: send a duration such as 604800s (`--overlap 7d`), or leave "
            "out overlap for 7 days",
            field="overlap",
            limit=MAX_OVERLAP_DAYS,
        )
    return ns // _MS_NS
