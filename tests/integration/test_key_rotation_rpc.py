"""Test RotateIngestKey over gRPC, on in-memory stores: overlap, request ids, and the limit of keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from hitmesh.api.control.v1 import quotas_pb2
from hitmesh.model.errors import Unavailable
from hitmesh.model.sites import IngestKey
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.rpc_values import timestamp
from tests.support.key_calls import (
    ADMINISTER,
    DEMO,
    PRECONDITION,
    SEND,
    create,
    get,
    listed,
    revoke,
    rotate,
    update,
    with_two_keys,
)
from tests.support.reporters import (
    NOW,
    OPERATOR,
    Mesh,
    bearer,
    refusal,
    start,
)


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def full(mesh: Mesh) -> Iterator[Mesh]:
    with with_two_keys(mesh) as found:
        yield found


def test_a_replacement_has_the_rights_of_the_key_and_the_key_expires_after_the_overlap(mesh: Mesh) -> None:
    key = create(mesh, unbounded_history=True, roles=[SEND, ADMINISTER], display_name="shop").key
    quota = quotas_pb2.Quota(name=f"{key.name}/quota", hits_per_second=7)
    mesh.admin.UpdateQuota(quotas_pb2.UpdateQuotaRequest(quota=quota), metadata=bearer(OPERATOR))
    rotated = rotate(mesh, key.name)
    new = rotated.key
    assert new.name != key.name
    assert (new.kind, new.roles, new.unbounded_history, new.display_name) == (key.kind, key.roles, True, "shop")
    assert new.rotated_from == key.name
    assert not new.HasField("expire_time")
    assert rotated.replaced_key.expire_time == timestamp(NOW + 7 * DAY_MS)
    assert get(mesh, key.name) == rotated.replaced_key
    assert get(mesh, new.name, rotated.secret) == new
    found = mesh.admin.GetQuota(quotas_pb2.GetQuotaRequest(name=f"{new.name}/quota"), metadata=bearer(OPERATOR)).quota
    assert found.hits_per_second == 7


@pytest.mark.parametrize(
    ("own_ms", "overlap", "ends_ms"),
    [
        (None, Duration(), 0),
        (None, Duration(seconds=30 * 86_400), 30 * DAY_MS),
        (60_000, Duration(seconds=61), 60_000),
        (60_000, Duration(seconds=59), 59_000),
    ],
)
def test_a_replaced_key_never_lives_longer_than_before(
    mesh: Mesh, own_ms: int | None, overlap: Duration, ends_ms: int
) -> None:
    expiry: dict[str, Any] = {} if own_ms is None else {"expire_time": timestamp(NOW + own_ms)}
    rotated = rotate(mesh, create(mesh, **expiry).key.name, overlap=overlap)
    assert rotated.replaced_key.expire_time == timestamp(NOW + ends_ms)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"overlap": Duration(seconds=30 * 86_400, nanos=1)}, "overlap"),
        ({"overlap": Duration(seconds=-1)}, "overlap"),
        ({"overlap": Duration(seconds=5, nanos=-5)}, "overlap"),
        ({"overlap": Duration(nanos=2_000_000_000)}, "overlap"),
        ({"request_id": "not-a-uuid"}, "request_id"),
        ({"request_id": "0" * 36}, "request_id"),
    ],
)
def test_a_bad_request_to_replace_a_key_creates_no_key(mesh: Mesh, fields: Any, field: str) -> None:
    key = create(mesh).key
    before = listed(mesh)
    assert refusal(lambda: rotate(mesh, key.name, **fields)).field == field
    assert listed(mesh) == before


def test_a_repeated_request_creates_no_second_key_and_shows_no_secret_again(mesh: Mesh) -> None:
    key, request_id = create(mesh).key, str(uuid.uuid4())
    first = rotate(mesh, key.name, request_id=request_id, overlap=Duration())
    count = len(listed(mesh).keys)
    mesh.clock.advance(1_000)
    for again in (request_id, request_id.upper()):
        repeated = rotate(mesh, key.name, request_id=again, overlap=Duration())
        assert (repeated.key, repeated.replaced_key, repeated.secret) == (first.key, first.replaced_key, "")
    assert len(listed(mesh).keys) == count


@pytest.mark.parametrize("wait_ms", [0, 1_000])
def test_a_repeated_request_with_another_overlap_leaves_the_replaced_key_alone(mesh: Mesh, wait_ms: int) -> None:
    key, request_id = create(mesh).key, str(uuid.uuid4())
    first = rotate(mesh, key.name, request_id=request_id)
    mesh.clock.advance(wait_ms)
    repeated = rotate(mesh, key.name, request_id=request_id, overlap=Duration())
    assert (repeated.key, repeated.replaced_key) == (first.key, first.replaced_key)
    extended = update(mesh, "expire_time", name=key.name, expire_time=timestamp(NOW + 9 * DAY_MS))
    assert rotate(mesh, key.name, request_id=request_id).replaced_key == extended == get(mesh, key.name)


def test_a_repeated_request_completes_a_request_that_failed_before_the_key_expired(mesh: Mesh) -> None:
    key, request_id = create(mesh).key, str(uuid.uuid4())
    directory = mesh.stores.directory
    change = directory.change_key

    def failing(key: IngestKey) -> bool:
        raise Unavailable("the store does not answer")

    directory.change_key = failing  # type: ignore[method-assign]
    assert refusal(lambda: rotate(mesh, key.name, request_id=request_id)).code is grpc.StatusCode.UNAVAILABLE
    directory.change_key = change  # type: ignore[method-assign]
    mesh.clock.advance(1_000)
    rotated = rotate(mesh, key.name, request_id=request_id)
    assert rotated.key.create_time == timestamp(NOW)
    assert rotated.replaced_key.expire_time == timestamp(NOW + 7 * DAY_MS)


def test_one_request_id_serves_for_each_key_once(mesh: Mesh) -> None:
    request_id = str(uuid.uuid4())
    rotated = [rotate(mesh, create(mesh).key.name, request_id=request_id) for _ in range(2)]
    assert all(each.secret for each in rotated)
    assert rotated[0].key.name != rotated[1].key.name


def test_concurrent_requests_with_one_request_id_create_one_key(mesh: Mesh) -> None:
    key, request_id = create(mesh).key, str(uuid.uuid4())
    before = len(listed(mesh).keys)
    with ThreadPoolExecutor(4) as pool:
        rotated = list(pool.map(lambda _: rotate(mesh, key.name, request_id=request_id), range(4)))
    assert sum(bool(each.secret) for each in rotated) == 1
    assert len({each.key.name for each in rotated}) == 1
    assert len(listed(mesh).keys) == before + 1


def test_an_ended_key_is_not_replaced(mesh: Mesh) -> None:
    revoked, expired = create(mesh).key, create(mesh, expire_time=timestamp(NOW + 1)).key
    revoke(mesh, revoked.name)
    mesh.clock.advance(1)
    for key in (revoked, expired):
        found = refusal(lambda: rotate(mesh, key.name))  # noqa: B023 called at once
        assert (found.code, found.reason, found.field) == (PRECONDITION, "WRONG_STATE", "name")


def test_a_refused_replacement_leaves_the_key_as_it_was(full: Mesh) -> None:
    key = create(full).key
    found = refusal(lambda: rotate(full, key.name, overlap=Duration(seconds=1)))
    assert (found.code, found.reason) == (PRECONDITION, "TOO_MANY_RESOURCES")
    assert get(full, key.name) == key


def test_a_key_that_ends_at_once_is_replaced_at_the_limit_of_keys(full: Mesh) -> None:
    key = create(full).key
    rotated = rotate(full, key.name, overlap=Duration())
    assert get(full, key.name).expire_time == timestamp(NOW)
    assert get(full, rotated.key.name) == rotated.key
    assert refusal(lambda: create(full)).reason == "TOO_MANY_RESOURCES"


def test_concurrent_replacements_do_not_exceed_the_limit_of_keys(full: Mesh) -> None:
    key = create(full).key

    def secret_of(_: int) -> str:
        try:
            return rotate(full, key.name, overlap=Duration()).secret
        except grpc.RpcError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        assert sum(bool(secret) for secret in pool.map(secret_of, range(8))) == 1
    valid = [each for each in listed(full).keys if not each.HasField("expire_time")]
    assert len(valid) == 2


def test_a_replacement_at_the_limit_is_undone_if_the_key_ended_meanwhile(full: Mesh) -> None:
    key = create(full).key
    directory = full.stores.directory
    store = directory.create_key

    def overtaken(key: IngestKey, secret: str) -> IngestKey:
        created = store(key, secret)
        directory.create_key = store  # type: ignore[method-assign]
        directory.revoke_key(DEMO, key.rotated_from or "", NOW)
        store(replace(created, key_id="server-other"), "secret of another call")
        return created

    directory.create_key = overtaken  # type: ignore[method-assign]
    found = refusal(lambda: rotate(full, key.name, overlap=Duration()))
    assert (found.code, found.reason) == (PRECONDITION, "WRONG_STATE")
    assert len(listed(full).keys) == 2
