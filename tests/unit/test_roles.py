"""Test the table of roles, and the functions with which services look up rights in this table."""

from __future__ import annotations

import pytest

from hitmesh.access.callers import may_read, require_operator, require_owner
from hitmesh.access.roles import RIGHTS, Role, has_role, is_valid_sender
from hitmesh.model.errors import PermissionDenied, Unauthenticated
from hitmesh.model.names import MERCHANT_PATTERN, OPERATORS, SITE_PATTERN
from hitmesh.model.sites import IngestKey, KeyKind

MERCHANT = "merchants/demo"
RULE = "hits without a site belong to no merchant"


def a_key(kind: KeyKind, merchant: str = MERCHANT, **fields: object) -> IngestKey:
    return IngestKey("k", OPERATORS if kind is KeyKind.OPERATOR else merchant, kind, **fields)  # type: ignore[arg-type]  # fields of IngestKey


def test_every_kind_of_key_has_its_rights() -> None:
    roles = {kind: {role.value for role in RIGHTS[kind].roles} for kind in KeyKind}
    assert roles == {
        KeyKind.BROWSER: {"send"},
        KeyKind.SERVER: {"send", "read", "administer"},
        KeyKind.EDGE: {"send"},
        KeyKind.OPERATOR: {"operate"},
    }
    assert [kind for kind in KeyKind if not RIGHTS[kind].is_secret] == [KeyKind.BROWSER]
    assert [kind for kind in KeyKind if RIGHTS[kind].sets_times] == [KeyKind.SERVER]
    assert [kind for kind in KeyKind if RIGHTS[kind].sets_context] == [KeyKind.EDGE]


def test_only_the_role_of_operators_is_without_a_merchant() -> None:
    holders = {role: [kind for kind in KeyKind if has_role(a_key(kind), role)] for role in Role}
    assert holders[Role.OPERATE] == [KeyKind.OPERATOR]
    assert not any(pattern.match(OPERATORS) for pattern in (MERCHANT_PATTERN, SITE_PATTERN))


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if kind is not KeyKind.OPERATOR])
def test_a_key_of_a_merchant_is_refused_what_belongs_to_no_merchant(kind: KeyKind) -> None:
    with pytest.raises(PermissionDenied, match=r"use an operator's key .*keys/dev-operator"):
        require_operator(a_key(kind), False, RULE)
    require_operator(a_key(kind), True, RULE)
    with pytest.raises(Unauthenticated, match="an operator's key"):
        require_operator(None, False, RULE)


def test_a_key_of_an_operator_operates_and_nothing_else() -> None:
    key = a_key(KeyKind.OPERATOR)
    require_operator(key, False, RULE)
    assert not is_valid_sender(key)
    assert not may_read(key, False, MERCHANT, None)
    assert not may_read(key, False, OPERATORS, None)
    for merchant in (MERCHANT, OPERATORS):
        with pytest.raises(PermissionDenied):
            require_owner(key, merchant)


def test_a_revoked_key_sends_nothing() -> None:
    assert is_valid_sender(a_key(KeyKind.BROWSER))
    assert not is_valid_sender(a_key(KeyKind.BROWSER, revoked_at=1))
    assert not is_valid_sender(None)
