"""Test that neither a merchant nor a client with guessed keys takes all places for calls of a service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest

from control.__main__ import bookkeeping_of
from control.backend import Bookkeeping
from control.service import SERVICES, build_server
from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc, quotas_pb2
from hitmesh.model.sites import IngestKey, KeyKind, Role
from hitmesh.ports import SiteDirectory
from hitmesh.runtime.known_callers import ANYONE, KnownCallers
from tests.support.patience import patient
from tests.support.reporters import (
    NOW,
    OWNER,
    RIVAL,
    Mesh,
    bearer,
    control_backend,
    refusal,
    served,
    start,
)
from tests.support.settled_rows import SITE
from tests.support.waiting import eventually

LIMIT = 3
SLOW = "hms_slow"
UNKNOWN = "1 calls without a known key or token"
QUOTA = quotas_pb2.GetQuotaRequest(name=f"{SITE}/quota")


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


class SlowDirectory:
    """Keys of a mesh; each look-up of the secret SLOW waits for `release`."""

    def __init__(self, mesh: Mesh) -> None:
        self._stored = mesh.stores.directory
        self.waiting, self.release = threading.Semaphore(0), threading.Event()

    def key(self, secret: str) -> IngestKey | None:
        if secret == SLOW:
            self.waiting.release()
            self.release.wait(patient(20))
        return self._stored.key(secret)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stored, name)


class Held:
    """A control service in which each GetQuota of a site waits for `release`, and so does each look-up of SLOW."""

    def __init__(self, mesh: Mesh, channel: grpc.Channel, release: threading.Event, directory: SlowDirectory) -> None:
        self.mesh = mesh
        self.stub = admin_pb2_grpc.AdminServiceStub(channel)
        self.release = release
        self.waiting = threading.Semaphore(0)
        self.directory = directory

    def unknown_call(self) -> None:
        """Begin a call whose key is looked up until `directory.release` is set."""
        request = admin_pb2.ListSitesRequest(parent="merchants/demo")

        def begin() -> bool:
            # A call whose future is garbage is cancelled.
            self.unknown = self.stub.ListSites.future(request, metadata=bearer(SLOW), timeout=patient(20))
            return self.directory.waiting.acquire(timeout=1)

        eventually(begin, "the place of an earlier unknown call is free")

    def calls(self, secret: str, count: int) -> list[Callable[[], object]]:
        """Begin calls that wait, and return when all wait."""
        begun = [self.stub.GetQuota.future(QUOTA, metadata=bearer(secret), timeout=patient(20)) for _ in range(count)]
        for _ in begun:
            assert self.waiting.acquire(timeout=patient(10))
        return [call.result for call in begun]

    def sites(self, secret: str, merchant: str) -> admin_pb2.ListSitesResponse:
        """Make a call that does not wait."""
        request = admin_pb2.ListSitesRequest(parent=merchant)
        return self.stub.ListSites(request, metadata=bearer(secret), timeout=patient(10))


@contextmanager
def held_control(mesh: Mesh, per_merchant: int = 8, unknown: int = 8) -> Iterator[Held]:
    release = threading.Event()
    found: list[Held] = []

    def bookkeeping() -> Bookkeeping:
        found[0].waiting.release()
        release.wait(patient(20))
        return bookkeeping_of(mesh.stores)

    directory = SlowDirectory(mesh)
    backend = replace(
        control_backend(mesh.stores, mesh.clock, open_reads=False),
        bookkeeping=bookkeeping,
        directory=cast(SiteDirectory, directory),
    )
    server = build_server(backend, workers=8, max_calls=8, per_merchant=per_merchant, unknown=unknown)
    with grpc.insecure_channel(f"127.0.0.1:{served(server, SERVICES)}") as channel:
        found.append(Held(mesh, channel, release, directory))
        try:
            yield found[0]
        finally:
            release.set()
            directory.release.set()
    server.stop(None).wait()


def test_a_merchant_with_many_calls_leaves_places_to_other_merchants(mesh: Mesh) -> None:
    with held_control(mesh, per_merchant=LIMIT) as held:
        held.sites(OWNER, "merchants/demo")
        held.sites(RIVAL, "merchants/rival")
        begun = held.calls(OWNER, LIMIT)
        refused = refusal(lambda: held.sites(OWNER, "merchants/demo"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert f"{LIMIT} calls of merchants/demo, which is the limit: call again" in refused.message
        held.sites(RIVAL, "merchants/rival")
        held.release.set()
        for call in begun:
            call()
        eventually(lambda: bool(held.sites(OWNER, "merchants/demo")), "the places are free again")


def test_all_keys_of_a_merchant_share_its_places(mesh: Mesh) -> None:
    for number in range(2):
        key = IngestKey(f"more-{number}", "merchants/demo", KeyKind.SERVER, roles=frozenset({Role.READ}))
        mesh.stores.directory.create_key(key, f"hms_more_{number}")
    with held_control(mesh, per_merchant=2) as held:
        for secret in (OWNER, "hms_more_0", "hms_more_1"):
            held.sites(secret, "merchants/demo")
        held.calls("hms_more_0", 1)
        held.calls("hms_more_1", 1)
        assert refusal(lambda: held.sites(OWNER, "merchants/demo")).reason == "TOO_MANY_CALLS"


@pytest.mark.parametrize("ending", [{"revoked_at": NOW}, {"expires_at": NOW}])
def test_a_key_that_has_ended_takes_no_more_places_of_its_merchant(mesh: Mesh, ending: dict[str, Any]) -> None:
    key = IngestKey("leaked", "merchants/demo", KeyKind.SERVER, roles=frozenset({Role.READ}))
    mesh.stores.directory.create_key(key, "hms_leaked")
    with held_control(mesh, unknown=1) as held:
        held.sites("hms_leaked", "merchants/demo")
        mesh.stores.directory.change_key(replace(key, version=1, **ending))
        found = refusal(lambda: held.sites("hms_leaked", "merchants/demo"))
        assert found.code is grpc.StatusCode.UNAUTHENTICATED
        held.unknown_call()
        assert UNKNOWN in refusal(lambda: held.sites("hms_leaked", "merchants/demo")).message


def test_callers_without_a_known_key_have_few_places(mesh: Mesh) -> None:
    with held_control(mesh, unknown=1) as held:
        held.sites(RIVAL, "merchants/rival")
        held.unknown_call()
        for secret in ("hms_guess", None):
            metadata = bearer(secret) if secret else ()
            refused = refusal(
                lambda metadata=metadata: held.stub.ListSites(  # type: ignore[misc]  # mypy infers no type for bound defaults
                    admin_pb2.ListSitesRequest(parent="merchants/rival"), metadata=metadata, timeout=patient(10)
                )
            )
            assert (refused.reason, UNKNOWN in refused.message) == ("TOO_MANY_CALLS", True)
        held.sites(RIVAL, "merchants/rival")


def test_a_call_takes_no_place_of_unknown_callers_after_its_credential_was_accepted(mesh: Mesh) -> None:
    with held_control(mesh, per_merchant=LIMIT, unknown=1) as held:
        for number in range(LIMIT):
            key = IngestKey(f"fresh-{number}", "merchants/demo", KeyKind.SERVER, roles=frozenset({Role.READ}))
            mesh.stores.directory.create_key(key, f"hms_fresh_{number}")
            held.calls(f"hms_fresh_{number}", 1)
        held.sites(RIVAL, "merchants/rival")
        refused = refusal(lambda: held.sites(OWNER, "merchants/demo"))
        assert refused.reason == "TOO_MANY_CALLS", "a fresh credential adds no places to those of its merchant"
        assert f"{LIMIT} calls of merchants/demo" in refused.message


def test_only_accepted_credentials_are_known_and_few_are_kept() -> None:
    callers = KnownCallers(max_callers=2)
    assert callers.merchant_of([("authorization", "Bearer a")]) is None
    for name in ("a", "b", "c"):
        callers.note([("authorization", f"Bearer {name}")], f"merchants/{name}")
        callers.merchant_of([("authorization", "Bearer a")])
    found = [callers.merchant_of([("x", "y"), ("authorization", f"Bearer {name}")]) for name in ("a", "b", "c")]
    assert found == ["merchants/a", None, "merchants/c"]
    assert callers.merchant_of([]) is None
    assert KnownCallers(open_reads=True).merchant_of([]) == ANYONE
    assert KnownCallers(open_reads=True).merchant_of([("authorization", "Bearer guess")]) is None


def test_a_merchant_with_many_credentials_forgets_only_its_own() -> None:
    callers = KnownCallers(max_callers=100, per_merchant=2)
    callers.note([("authorization", "Bearer other")], "merchants/other")
    for name in ("a", "b", "c"):
        callers.note([("authorization", f"Bearer {name}")], "merchants/many")
        callers.merchant_of([("authorization", "Bearer a")])
    known = [name for name in ("other", "a", "b", "c") if callers.merchant_of([("authorization", f"Bearer {name}")])]
    assert known == ["other", "a", "c"]
    for name in known:
        callers.forget([("authorization", f"Bearer {name}")])
    assert not any(callers.merchant_of([("authorization", f"Bearer {name}")]) for name in known)
