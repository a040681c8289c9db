"""Test the table of roles, and the functions with which services look up rights in this table."""

from __future__ import annotations

import pytest

from hitmesh.access.callers import Caller, caller_with_key
from hitmesh.access.checks import authorise, owns
from hitmesh.access.roles import RIGHTS, has_role, is_valid_sender, roles_of
from hitmesh.api.control.v1 import admin_pb2, operations_pb2
from hitmesh.model.errors import NotFound, PermissionDenied, Unauthenticated
from hitmesh.model.names import MERCHANT_PATTERN, OPERATORS, SITE_PATTERN
from hitmesh.model.sites import IngestKey, KeyKind, Role

MERCHANT, SITE = "merchants/demo", "merchants/demo/sites/shop"
DEFAULTS = {KeyKind.OPERATOR: {Role.OPERATE}, KeyKind.BOOTSTRAP: set[Role]()}
OF_OPERATORS = operations_pb2.GetSitelessLedgerRequest()


def a_key(kind: KeyKind, merchant: str = MERCHANT, **fields: object) -> IngestKey:
    return IngestKey("k", OPERATORS if kind is KeyKind.OPERATOR else merchant, kind, **fields)  # type: ignore[arg-type]  # fields of IngestKey


def test_every_kind_of_key_has_its_rights() -> None:
    roles = {kind: {role.value for role in RIGHTS[kind].roles} for kind in KeyKind}
    assert roles == {
        KeyKind.BROWSER: {"send"},
        KeyKind.SERVER: {"send", "read", "administer"},
        KeyKind.EDGE: {"send"},
        KeyKind.OPERATOR: {"operate"},
        KeyKind.BOOTSTRAP: set(),
    }
    assert [kind for kind in KeyKind if not RIGHTS[kind].is_secret] == [KeyKind.BROWSER]
    assert [kind for kind in KeyKind if RIGHTS[kind].sets_times] == [KeyKind.SERVER]
    assert [kind for kind in KeyKind if RIGHTS[kind].sets_context] == [KeyKind.EDGE]


def test_a_key_has_only_roles_that_its_kind_may_have_and_without_roles_the_default() -> None:
    for kind in KeyKind:
        default = DEFAULTS.get(kind, {Role.SEND})
        assert roles_of(a_key(kind)) == RIGHTS[kind].default == default
        assert roles_of(a_key(kind, roles=frozenset(Role))) == RIGHTS[kind].roles
    assert roles_of(a_key(KeyKind.SERVER, roles=frozenset({Role.READ}))) == {Role.READ}
    assert roles_of(a_key(KeyKind.BROWSER, roles=frozenset({Role.READ}))) == set()


def test_only_the_role_of_operators_is_without_a_merchant() -> None:
    holders = {role: [kind for kind in KeyKind if has_role(a_key(kind), role)] for role in Role}
    assert holders[Role.OPERATE] == [KeyKind.OPERATOR]
    assert not any(pattern.match(OPERATORS) for pattern in (MERCHANT_PATTERN, SITE_PATTERN))


def a_caller(kind: KeyKind, merchant: str = MERCHANT, **fields: object) -> Caller:
    return caller_with_key(a_key(kind, merchant, **fields))


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if kind is not KeyKind.OPERATOR])
def test_a_key_of_a_merchant_is_refused_what_belongs_to_no_merchant(kind: KeyKind) -> None:
    with pytest.raises(PermissionDenied, match=r"use an operator's key .*keys/dev-operator"):
        authorise(a_caller(kind), OF_OPERATORS, False)
    authorise(a_caller(kind), OF_OPERATORS, True)
    with pytest.raises(Unauthenticated, match="an operator's key"):
        authorise(None, OF_OPERATORS, False)


def test_a_key_of_an_operator_operates_and_nothing_else() -> None:
    operator = a_caller(KeyKind.OPERATOR)
    authorise(operator, OF_OPERATORS, False)
    assert not is_valid_sender(a_key(KeyKind.OPERATOR), 5)
    for request in (
        operations_pb2.GetLedgerRequest(site=SITE),
        admin_pb2.CreateSiteRequest(parent=MERCHANT),
    ):
        with pytest.raises(NotFound):
            authorise(operator, request, False)
    authorise(operator, admin_pb2.CreateIngestKeyRequest(parent=MERCHANT), False)  # the first key of a new merchant
    for malformed in ("", OPERATORS, "merchants/", "merchants/-"):
        with pytest.raises(PermissionDenied):
            authorise(operator, admin_pb2.CreateSiteRequest(parent=malformed), False)


def test_a_site_belongs_to_its_merchant_and_to_operators() -> None:
    one_site = a_caller(KeyKind.SERVER, site=SITE)
    for caller in (a_caller(KeyKind.SERVER), one_site, a_caller(KeyKind.OPERATOR)):
        assert owns(caller, SITE)
    assert not owns(one_site, f"{SITE}-2")
    assert not owns(a_caller(KeyKind.SERVER), "merchants/demo-2/sites/shop")
    assert not owns(a_caller(KeyKind.SERVER), "")
    assert owns(a_caller(KeyKind.OPERATOR), "")
    assert not owns(None, SITE)


def test_a_revoked_key_sends_nothing() -> None:
    assert is_valid_sender(a_key(KeyKind.BROWSER), 5)
    assert not is_valid_sender(a_key(KeyKind.BROWSER, revoked_at=1), 5)
    assert not is_valid_sender(a_key(KeyKind.BROWSER, expires_at=5), 5)
    assert is_valid_sender(a_key(KeyKind.BROWSER, expires_at=6), 5)
    assert not is_valid_sender(None, 5)
