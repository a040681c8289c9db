"""Compare the table of rights with every RPC of the running services, for every kind of caller.

The expectation is computed from the table in a second, separate way, and never by the checks that the services use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from hitmesh.access.rights import RULES, Rule
from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.adapters.factory import Stores
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind, Role, Site
from tests.support.every_service import every_service, methods_of, path_of
from tests.support.rights import a_request, batch_with, outcome, set_field

DEMO, RIVAL = "merchants/demo", "merchants/rival"
ALLOWED: Final = None
NOT_FOUND, DENIED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
SITE = f"{DEMO}/sites/rights"

KEYS: Mapping[str, IngestKey] = {
    key.key_id: key
    for key in (
        IngestKey("browser", DEMO, KeyKind.BROWSER, SITE),
        IngestKey("older", DEMO, KeyKind.SERVER),
        IngestKey("sender", DEMO, KeyKind.SERVER, roles=frozenset({Role.SEND})),
        IngestKey("reader", DEMO, KeyKind.SERVER, roles=frozenset({Role.READ})),
        IngestKey("admin", DEMO, KeyKind.SERVER, roles=frozenset({Role.ADMINISTER})),
        IngestKey("owner", DEMO, KeyKind.SERVER, roles=MERCHANT_ROLES),
        IngestKey("edge", DEMO, KeyKind.EDGE),
        IngestKey("one-site", DEMO, KeyKind.SERVER, SITE, roles=MERCHANT_ROLES),
        IngestKey("other-site", DEMO, KeyKind.SERVER, f"{DEMO}/sites/other", roles=MERCHANT_ROLES),
        IngestKey("rival", RIVAL, KeyKind.SERVER, roles=MERCHANT_ROLES),
        IngestKey("operator", OPERATORS, KeyKind.OPERATOR),
        IngestKey("revoked", DEMO, KeyKind.SERVER, revoked_at=1, roles=MERCHANT_ROLES),
    )
}
ROLES: Mapping[str, frozenset[Role]] = {
    "browser": frozenset({Role.SEND}),
    "older": frozenset({Role.SEND}),
    "sender": frozenset({Role.SEND}),
    "reader": frozenset({Role.READ}),
    "admin": frozenset({Role.ADMINISTER}),
    "owner": frozenset({Role.SEND, Role.READ, Role.ADMINISTER}),
    "edge": frozenset({Role.SEND}),
    "one-site": frozenset({Role.SEND, Role.READ, Role.ADMINISTER}),
    "other-site": frozenset({Role.SEND, Role.READ, Role.ADMINISTER}),
    "rival": frozenset({Role.SEND, Role.READ, Role.ADMINISTER}),
    "operator": frozenset({Role.OPERATE}),
}
CALLERS = ("", *KEYS)
Services = Mapping[str, tuple[grpc.Channel, Stores]]


@pytest.fixture(scope="module")
def closed() -> Iterator[Services]:
    with every_service(open_reads=False) as services:
        prepare(services)
        yield services


@pytest.fixture(scope="module")
def opened() -> Iterator[Services]:
    with every_service(open_reads=True) as services:
        prepare(services)
        yield services


def prepare(services: Services) -> None:
    """Store the site and the keys in each directory once."""
    for directory in {id(stores): stores.directory for _, stores in services.values()}.values():
        directory.create_site(Site(SITE, "UTC", "USD", b"secret of a test"))
        for key in KEYS.values():
            directory.create_key(key, secret_of(key.key_id))


def secret_of(caller: str) -> str:
    return f"hms_rights-{caller}"


def served_by(services: Services) -> Iterator[tuple[grpc.Channel, MethodDescriptor]]:
    """Yield every method of the project that a running server offers, with the server's channel."""
    for service, (channel, _) in services.items():
        for method in methods_of(channel):
            is_own = method.full_name.startswith("hitmesh.")
            # The reporter's reflection also lists the services of other processes.
            if is_own and home_of(method) == service:
                yield channel, method


def home_of(method: MethodDescriptor) -> str:
    if method.containing_service.name == "TraceService":
        return "processor"
    return method.containing_service.full_name.split(".")[2]


def expected(rule: Rule, name: str, caller: str, open_reads: bool) -> grpc.StatusCode | None:
    """Return the status with which a call for the merchant demo must be refused, or ALLOWED."""
    if caller == "revoked":
        return UNAUTHENTICATED
    if rule.role is None or (rule.is_open_read and open_reads):
        return ALLOWED
    if caller == "":
        return UNAUTHENTICATED
    roles = ROLES[caller]
    if rule.role is Role.OPERATE:
        return ALLOWED if Role.OPERATE in roles else DENIED
    if caller == "operator":
        return ALLOWED if rule.operators_too else NOT_FOUND
    if caller == "rival":
        return NOT_FOUND
    if rule.role not in roles:
        return DENIED
    if caller in ("one-site", "other-site") and not rule.is_filtered and rule.fields:
        return DENIED if rule.role is Role.ADMINISTER else (ALLOWED if KEYS[caller].site == name else NOT_FOUND)
    return ALLOWED


@pytest.mark.timeout(120)
@pytest.mark.parametrize("open_reads", [False, True], ids=["closed reads", "open reads"])
def test_every_rpc_decides_according_to_the_table(open_reads: bool, request: pytest.FixtureRequest) -> None:
    services: Services = request.getfixturevalue("opened" if open_reads else "closed")
    seen, wrong = set(), []
    for channel, method in served_by(services):
        rule, name, message = RULES[path_of(method)], *a_request(method, SITE)
        seen.add(path_of(method))
        if rule.role is Role.SEND or rule.role is None:
            continue
        for caller in CALLERS:
            wanted = expected(rule, name, caller, open_reads)
            found, _ = outcome(channel, method, message, secret_of(caller) if caller else None)
            is_right = found not in (UNAUTHENTICATED, DENIED) if wanted is ALLOWED else found is wanted
            if not is_right:
                wrong.append(f"{method.name} as {caller or 'nobody'}: {found}, not {wanted}")
    assert not wrong
    assert seen == {path for path in RULES if path.startswith("/hitmesh.")}


@pytest.mark.parametrize("first", [f"{DEMO}/sites/rights", f"{RIVAL}/sites/rights", ""])
def test_every_field_that_names_a_merchant_is_checked(closed: Services, first: str) -> None:
    """A caller must not name an own site in a field and another merchant's site in another field."""
    for channel, method in served_by(closed):
        rule = RULES[path_of(method)]
        for field in rule.fields[1:]:
            _, message = a_request(method, f"{RIVAL}/sites/theirs", field)
            set_field(message, rule.fields[0], first)
            assert outcome(channel, method, message, secret_of("owner"))[0] is NOT_FOUND, (method.name, field)


@pytest.mark.parametrize("caller", CALLERS)
def test_the_collector_takes_hits_only_with_the_role_send(closed: Services, caller: str) -> None:
    channel, _ = closed["collector"]
    wanted = UNAUTHENTICATED if caller in ("", "revoked") else ALLOWED if Role.SEND in ROLES[caller] else DENIED
    for method in methods_of(channel):
        if RULES.get(path_of(method)) == Rule(Role.SEND) and method.name == "SendHits":
            found, _ = outcome(channel, method, batch_with(secret_of(caller) if caller else ""), None)
            # A key for another site or merchant may send, but finds no site of this name.
            assert found not in (UNAUTHENTICATED, DENIED) if wanted is ALLOWED else found is wanted
