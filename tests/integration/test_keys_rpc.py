"""Test the methods for keys over gRPC, on in-memory stores: read, list, change, delete and revoke keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from control.rpc.admin.key_checks import MAX_LIFETIME_MS
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.model.days import iso_second
from hitmesh.runtime.rpc_values import timestamp
from tests.support.key_calls import (
    ADMINISTER,
    DEMO,
    INVALID,
    PRECONDITION,
    READ,
    SEND,
    create,
    delete,
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
    OWNER,
    RIVAL,
    Mesh,
    refusal,
    start,
)
from tests.support.settled_rows import SITE


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    yield from start(open_reads=False)


@pytest.fixture
def full(mesh: Mesh) -> Iterator[Mesh]:
    with with_two_keys(mesh) as found:
        yield found


def test_a_key_is_shown_with_every_field_and_without_its_secret(mesh: Mesh) -> None:
    created = create(mesh, display_name="shop", expire_time=timestamp(NOW + 1), site=SITE, roles=[READ])
    assert get(mesh, created.key.name) == created.key
    assert created.key.expire_time.ToMilliseconds() == NOW + 1
    assert created.key.create_time == created.key.update_time == timestamp(NOW)
    assert (created.key.display_name, created.key.site, list(created.key.roles)) == ("shop", SITE, [READ])
    assert created.key.etag
    assert not created.key.HasField("rotated_from")
    assert created.secret not in str(listed(mesh))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expire_time": timestamp(NOW)}, "key.expire_time"),
        ({"expire_time": timestamp(NOW + MAX_LIFETIME_MS + 1)}, "key.expire_time"),
        ({"expire_time": Timestamp(seconds=1 << 62)}, "key.expire_time"),
        ({"expire_time": Timestamp(seconds=-1)}, "key.expire_time"),
        ({"expire_time": Timestamp(seconds=NOW // 1_000, nanos=2_000_000_000)}, "key.expire_time"),
        ({"display_name": "x" * 201}, "key.display_name"),
        ({"display_name": "two\nlines"}, "key.display_name"),
    ],
)
def test_a_bad_value_is_refused_at_the_creation_and_at_a_change(mesh: Mesh, fields: Any, field: str) -> None:
    key = create(mesh).key
    for call in (
        lambda: create(mesh, **fields),
        lambda: update(mesh, *fields, name=key.name, **fields),
        lambda: update(mesh, name=key.name, **fields),
    ):
        found = refusal(call)
        assert (found.code, found.field) == (INVALID, field)
    assert get(mesh, key.name) == key


def test_the_longest_lifetime_and_name_are_accepted(mesh: Mesh) -> None:
    ends = timestamp(NOW + MAX_LIFETIME_MS)
    created = create(mesh, display_name="ü" * 200, expire_time=ends)
    assert (created.key.display_name, created.key.expire_time) == ("ü" * 200, ends)


def test_an_expired_key_is_refused_and_may_be_extended(mesh: Mesh) -> None:
    created = create(mesh, roles=[ADMINISTER], expire_time=timestamp(NOW + 5_000))
    mesh.clock.advance(4_999)
    assert get(mesh, created.key.name, created.secret) == created.key
    mesh.clock.advance(1)
    for call in (lambda: get(mesh, created.key.name, created.secret), lambda: create(mesh, created.secret)):
        found = refusal(call)
        assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_EXPIRED")
        assert iso_second(NOW + 5_000) in found.message
    update(mesh, "expire_time", name=created.key.name, expire_time=timestamp(NOW + 9_000))
    assert get(mesh, created.key.name, created.secret).expire_time == timestamp(NOW + 9_000)


def test_a_change_names_its_fields_and_gives_a_new_etag(mesh: Mesh) -> None:
    key = create(mesh, display_name="a", roles=[SEND], expire_time=timestamp(NOW + 9_000)).key
    mesh.clock.advance(1_000)
    named = update(mesh, "display_name", name=key.name, display_name="b", roles=[READ])
    assert (named.display_name, named.roles) == ("b", key.roles), "the mask does not name the roles"
    assert (named.update_time, named.create_time) == (timestamp(NOW + 1_000), key.create_time)
    assert named.etag != key.etag
    unmasked = update(mesh, name=key.name, roles=[READ, SEND], kind=key.kind, etag=named.etag)
    assert (list(unmasked.roles), unmasked.display_name) == ([SEND, READ], "b")
    endless = update(mesh, "expire_time", "display_name", name=key.name)
    assert not endless.HasField("expire_time")
    assert endless.display_name == ""
    assert get(mesh, key.name) == endless


def test_a_star_in_the_mask_stands_for_every_field_that_can_change(mesh: Mesh) -> None:
    key = create(mesh, roles=[SEND], display_name="a", expire_time=timestamp(NOW + 1_000)).key
    changed = update(mesh, "*", name=key.name, kind=key.kind, roles=[READ])
    assert (list(changed.roles), changed.display_name, changed.HasField("expire_time")) == ([READ], "", False)
    assert get(mesh, key.name) == changed


def test_a_repeated_change_is_announced_again(mesh: Mesh) -> None:
    """The first call may have failed between the change and its announcement."""
    announced: list[str] = []
    name = create(mesh).key.name
    mesh.stores.directory.announce = lambda name: announced.append(name)  # type: ignore[method-assign]
    for _ in range(2):
        update(mesh, name=name, display_name="x")
    assert announced == [name]


def test_a_change_to_the_stored_values_keeps_etag_and_time(mesh: Mesh) -> None:
    key = create(mesh, roles=[SEND], expire_time=timestamp(NOW + 1_000)).key
    mesh.clock.advance(2_000)
    same: dict[str, Any] = {"name": key.name, "roles": [SEND], "expire_time": key.expire_time, "prefix": key.prefix}
    assert update(mesh, **same) == update(mesh, "roles", "expire_time", **same) == key


@pytest.mark.parametrize(
    ("mask", "fields", "field"),
    [
        (["kind"], {}, "update_mask"),
        (["*"], {"roles": [SEND], "site": SITE}, "key.site"),
        (["*"], {"display_name": "x"}, "key.roles"),
        (["*", "kind"], {"roles": [SEND]}, "update_mask"),
        (["revoke_time"], {}, "update_mask"),
        ([], {"site": SITE}, "key.site"),
        ([], {"unbounded_history": True}, "key.unbounded_history"),
        ([], {"kind": admin_pb2.KEY_KIND_EDGE}, "key.kind"),
        ([], {"prefix": "other"}, "key.prefix"),
        (["roles"], {}, "key.roles"),
        (["roles"], {"roles": [99]}, "key.roles"),
    ],
)
def test_a_field_that_cannot_change_is_refused_by_name_with_the_cure(
    mesh: Mesh, mask: list[str], fields: Any, field: str
) -> None:
    key = create(mesh).key
    found = refusal(lambda: update(mesh, *mask, name=key.name, **fields))
    assert (found.code, found.field) == (INVALID, field)
    if field != "key.roles":
        assert found.message.endswith(
            "change only display_name, expire_time, roles, or create another key with CreateIngestKey"
        )
    assert get(mesh, key.name) == key


def test_a_key_for_one_site_does_not_get_the_role_administer(mesh: Mesh) -> None:
    key = create(mesh, site=SITE).key
    assert refusal(lambda: update(mesh, name=key.name, roles=[ADMINISTER])).field == "key.roles"


def test_an_etag_that_is_not_current_aborts_the_change_and_the_deletion(mesh: Mesh) -> None:
    key = create(mesh).key
    revoked = revoke(mesh, key.name)
    assert revoked.etag != key.etag
    for call, field in (
        (lambda: update(mesh, name=key.name, display_name="b", etag=key.etag), "key.etag"),
        (lambda: delete(mesh, key.name, key.etag), "etag"),
    ):
        found = refusal(call)
        assert (found.code, found.reason, found.field) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", field)
    assert get(mesh, key.name) == revoked
    delete(mesh, key.name, revoked.etag)


def test_of_concurrent_changes_with_one_etag_exactly_one_wins(mesh: Mesh) -> None:
    key = create(mesh).key

    def change(number: int) -> str:
        try:
            return update(mesh, name=key.name, display_name=f"name {number}", etag=key.etag).display_name
        except grpc.RpcError as error:
            return str(error.code())

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(change, range(8)))
    (winner,) = [name for name in names if name.startswith("name ")]
    assert names.count(str(grpc.StatusCode.ABORTED)) == 7
    assert get(mesh, key.name).display_name == winner


def test_only_a_revoked_or_expired_key_is_deleted(mesh: Mesh) -> None:
    revoked, expiring, valid = create(mesh), create(mesh, expire_time=timestamp(NOW + 1)), create(mesh)
    revoke(mesh, revoked.key.name)
    delete(mesh, revoked.key.name)
    for name in (expiring.key.name, valid.key.name):
        found = refusal(lambda: delete(mesh, name))  # noqa: B023 called at once
        assert (found.code, found.reason, found.field) == (PRECONDITION, "WRONG_STATE", "name")
        assert "revoke the key with RevokeIngestKey" in found.message
    mesh.clock.advance(1)
    delete(mesh, expiring.key.name)
    for gone in (revoked, expiring):
        assert refusal(lambda: get(mesh, gone.key.name)).code is grpc.StatusCode.NOT_FOUND  # noqa: B023 called at once
        found = refusal(lambda: create(mesh, gone.secret))  # noqa: B023 called at once
        assert found.reason == "UNKNOWN_KEY"
    assert get(mesh, valid.key.name) == valid.key


def test_keys_are_listed_in_pages_by_id_and_revoked_keys_on_demand(mesh: Mesh) -> None:
    names = [create(mesh).key.name for _ in range(4)] + [f"{DEMO}/ingestKeys/demo-1"]
    revoke(mesh, names[1])

    def every(**fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            page = listed(mesh, page_size=2, page_token=token, **fields)
            assert len(page.keys) <= 2
            found += [key.name for key in page.keys]
            token = page.next_page_token
            if not token:
                return found

    assert every(show_revoked=True) == sorted(names)
    assert every() == sorted(name for name in names if name != names[1])
    token = listed(mesh, page_size=1).next_page_token
    found = refusal(lambda: listed(mesh, page_size=1, page_token=token, show_revoked=True))
    assert found.reason == "PAGE_TOKEN_MISMATCH"
    assert refusal(lambda: listed(mesh, page_size=-1)).field == "page_size"


def test_an_expired_key_is_not_extended_beyond_the_number_of_valid_keys(full: Mesh) -> None:
    expired = create(full, expire_time=timestamp(NOW + 1)).key
    full.clock.advance(1)
    second = create(full).key
    wanted: list[dict[str, Any]] = [{}, {"expire_time": timestamp(NOW + 9_000)}]
    for expiry in wanted:
        found = refusal(lambda: update(full, "expire_time", name=expired.name, **expiry))  # noqa: B023 called at once
        assert (found.code, found.reason) == (PRECONDITION, "TOO_MANY_RESOURCES")
    assert update(full, name=expired.name, display_name="late").display_name == "late", "the key stays expired"
    revoke(full, second.name)
    assert not update(full, "expire_time", name=expired.name).HasField("expire_time")


def calls_on(mesh: Mesh, name: str) -> list[Callable[[str], object]]:
    return [
        lambda secret: get(mesh, name, secret),
        lambda secret: update(mesh, name=name, display_name="x", secret=secret),
        lambda secret: delete(mesh, name, secret=secret),
        lambda secret: rotate(mesh, name, secret),
        lambda secret: revoke(mesh, name, secret),
    ]


def test_the_key_of_another_merchant_is_a_key_that_does_not_exist(mesh: Mesh) -> None:
    name, missing = create(mesh).key.name, f"{DEMO}/ingestKeys/none"
    for on_missing, on_key in zip(calls_on(mesh, missing), calls_on(mesh, name), strict=True):
        nothing = refusal(lambda: on_missing(OWNER))  # noqa: B023 called at once
        hidden = refusal(lambda: on_key(RIVAL))  # noqa: B023 called at once
        assert nothing.code is hidden.code is grpc.StatusCode.NOT_FOUND
        assert nothing.message == f"{DEMO} has no key none"
        assert hidden.message == nothing.message.replace("none", name.rpartition("/")[2])
        assert nothing.field == hidden.field
    assert refusal(lambda: listed(mesh, RIVAL)).code is grpc.StatusCode.NOT_FOUND


def test_keys_need_the_role_administer_or_operate(mesh: Mesh) -> None:
    name, reader = create(mesh).key.name, create(mesh, roles=[READ, SEND]).secret
    calls: list[Callable[[str], object]] = [*calls_on(mesh, name), lambda secret: listed(mesh, secret)]
    for call in calls:
        assert refusal(lambda: call(reader)).code is grpc.StatusCode.PERMISSION_DENIED  # noqa: B023 called at once
    assert get(mesh, name, OPERATOR).name == name
    assert name in {key.name for key in listed(mesh, OPERATOR).keys}
    rotated = rotate(mesh, name, OPERATOR)
    revoke(mesh, rotated.key.name, OPERATOR)
    delete(mesh, rotated.key.name, secret=OPERATOR)


@pytest.mark.parametrize("name", ["", "merchants/demo", "merchants/demo/ingestKeys/", "merchants/demo/ingestKeys/a/b"])
def test_a_name_that_is_no_key_is_refused(mesh: Mesh, name: str) -> None:
    for call in calls_on(mesh, name):
        assert refusal(lambda: call(OWNER)).code is INVALID  # noqa: B023 called at once
