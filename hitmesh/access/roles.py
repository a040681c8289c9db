"""The roles that each kind of key may have, and the roles that a key has.

A role applies to the key's merchant. If the key is for a single site, the role applies to this site only. The keys of
operators belong to no merchant. The merchant field of an operator's key is hitmesh.model.names.OPERATORS. No merchant
is named OPERATORS, so a check for a merchant never accepts an operator's key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hitmesh.model.sites import IngestKey, KeyKind, Role


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a kind of key.

    Attributes:
        roles: the roles that a key of this kind may have.
        default: the roles of a key that was created without roles.
        is_secret: whether the key is secret. A browser key is public, so the collector limits the work that senders
            with browser keys can cause with refused hits.
        sets_times: whether hits may set `true_time` and `offline`, and may be up to 13 months old (rule T3).
        sets_context: whether batches may set the edge context.
    """

    roles: frozenset[Role]
    default: frozenset[Role]
    is_secret: bool = True
    sets_times: bool = False
    sets_context: bool = False


# The roles of a merchant's owner. `hitmesh dev` gives all of them to keys/dev-server.
MERCHANT_ROLES: Final = frozenset({Role.SEND, Role.READ, Role.ADMINISTER})
_SEND: Final = frozenset({Role.SEND})
_OPERATE: Final = frozenset({Role.OPERATE})

RIGHTS: Final[Mapping[KeyKind, Rights]] = MappingProxyType(
    {
        KeyKind.BROWSER: Rights(_SEND, _SEND, is_secret=False),
        KeyKind.SERVER: Rights(MERCHANT_ROLES, _SEND, sets_times=True),
        KeyKind.EDGE: Rights(_SEND, _SEND, sets_context=True),
        KeyKind.OPERATOR: Rights(_OPERATE, _OPERATE),
        KeyKind.BOOTSTRAP: Rights(frozenset(), frozenset()),
    }
)


def rights_of(key: IngestKey) -> Rights:
    """Return the rights of a key."""
    return RIGHTS[key.kind]


def roles_of(key: IngestKey) -> frozenset[Role]:
    """Return the roles of a key, which apply to the key's merchant and site only."""
    rights = rights_of(key)
    return key.roles & rights.roles if key.roles else rights.default


def has_role(key: IngestKey, role: Role) -> bool:
    """Return whether a key has a role; the caller must also compare the key's merchant and site."""
    return role in roles_of(key)


def is_valid_sender(key: IngestKey | None, now: int) -> bool:
    """Return whether a key exists, is neither revoked nor expired at a time (UTC ms), and may send hits."""
    return key is not None and not key.is_ended(now) and has_role(key, Role.SEND)


def is_unbounded(key: IngestKey) -> bool:
    """Return whether hits with this key may have any age (rule T3).

    Only a server key that was created with `unbounded_history` allows hits of any age.
    """
    return key.unbounded_history and rights_of(key).sets_times


def cannot_send(key: IngestKey) -> str:
    """Return the error message for a key without the role SEND."""
    if Role.SEND in rights_of(key).roles:
        return f"this {key.kind.value} key may not send hits: use a key with the role send"
    return f"a key of kind {key.kind.value} may not send hits: use a browser, server or edge key"
