"""Test how the client finds a mesh, a key and sites, and how it waits until hits can be queried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client.home import (
    NoMesh,
    check_reachable,
    endpoint,
    home_dir,
    operators_endpoint,
    parse_endpoint,
    server_key,
)
from hitmesh.client.mesh import Mesh
from hitmesh.client.sites import ensure_site, list_sites
from hitmesh.client.visibility import NotVisibleYet, Wait, Watch, wait_until_visible
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import site_name
from tests.unit.scripted_mesh import KEY, LOG, ScriptedMesh, running

SITE = "merchants/demo/sites/shop"


@pytest.fixture
def mesh() -> Iterator[ScriptedMesh]:
    with running(ScriptedMesh()) as mesh:
        yield mesh


def test_home_is_the_option_then_the_environment_then_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"HITMESH_HOME": str(tmp_path / "named")}
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home_dir(tmp_path / "option", environment) == tmp_path / "option"
    assert home_dir(None, environment) == tmp_path / "named"
    assert home_dir(None, {}) == tmp_path / "hitmesh"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert home_dir(None, {}) == Path.home() / ".local/share/hitmesh"
    assert home_dir(Path("here"), {}).is_absolute()


def test_endpoint_is_the_option_then_the_environment_then_the_ready_file(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_text(json.dumps({"http": "http://127.0.0.1:3", "grpc": "127.0.0.1:3", "pid": 1}))
    environment = {"HITMESH_ENDPOINT": "http://127.0.0.1:2/"}
    assert endpoint("localhost:1", tmp_path, environment) == "localhost:1"
    assert endpoint(None, tmp_path, environment) == "127.0.0.1:2"
    assert endpoint(None, tmp_path, {}) == "127.0.0.1:3"


def test_operators_endpoint_is_the_option_then_the_environment_then_the_ready_file(tmp_path: Path) -> None:
    addresses = {"grpc": "127.0.0.1:3", "operators": "127.0.0.1:4", "pid": 1}
    (tmp_path / "ready.json").write_text(json.dumps(addresses))
    environment = {"HITMESH_OPERATOR_ENDPOINT": "localhost:5", "HITMESH_ENDPOINT": "localhost:6"}
    assert operators_endpoint("localhost:1", tmp_path, environment) == "localhost:1"
    assert operators_endpoint(None, tmp_path, environment) == "localhost:5"
    assert operators_endpoint(None, tmp_path, {"HITMESH_ENDPOINT": "localhost:6"}) == "localhost:6"
    assert operators_endpoint(None, tmp_path, {}) == "127.0.0.1:4"
    assert endpoint(None, tmp_path, environment) == "localhost:6", "merchants use the public address"


def test_public_address_of_the_home_stands_for_the_operators_address(tmp_path: Path) -> None:
    assert operators_endpoint("127.0.0.1:3", tmp_path, {}) == "127.0.0.1:3", "there is no ready file"
    addresses = {"grpc": "127.0.0.1:3", "operators": "127.0.0.1:4", "pid": 1}
    (tmp_path / "ready.json").write_text(json.dumps(addresses))
    assert operators_endpoint("http://127.0.0.1:3/", tmp_path, {}) == "127.0.0.1:4"
    assert operators_endpoint(None, tmp_path, {"HITMESH_ENDPOINT": "127.0.0.1:3"}) == "127.0.0.1:4"
    (tmp_path / "ready.json").write_text(json.dumps({"grpc": "127.0.0.1:3", "pid": 1}))
    assert operators_endpoint(None, tmp_path, {}) == "127.0.0.1:3", "a mesh of an earlier version has one address"


def test_ready_file_of_a_process_that_is_gone_is_no_mesh(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid in (gone.pid, 1 << 70):
        (tmp_path / "ready.json").write_text(json.dumps({"grpc": "127.0.0.1:3", "pid": pid}))
        with pytest.raises(NoMesh, match=f"process {pid}, which has ended: .*|hitmesh dev"):
            endpoint(None, tmp_path, {})
    for pid in (os.getpid(), 1):  # the test's process, and a process of another user
        (tmp_path / "ready.json").write_text(json.dumps({"grpc": "127.0.0.1:3", "pid": pid}))
        assert endpoint(None, tmp_path, {}) == "127.0.0.1:3"


def test_home_without_a_ready_file_has_no_mesh(tmp_path: Path) -> None:
    with pytest.raises(NoMesh, match="hitmesh dev"):
        endpoint(None, tmp_path, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"grpc": 7}', '{"grpc": "a:1", "pid": "x"}', "\xff"])
def test_broken_ready_file_is_wrong_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / "ready.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RefusedError):
        endpoint(None, tmp_path, {})


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", ":80", "a:0", "a:65536", "a:b", "https://a:1/path", "a b:1"]
)
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="HOST:PORT"):
        parse_endpoint(text)


def test_addresses_of_every_kind_are_read() -> None:
    texts = ["[::1]:8080", "https://mesh.example:443", "shop-1.local:80"]
    assert [parse_endpoint(text) for text in texts] == ["[::1]:8080", "mesh.example:443", "shop-1.local:80"]


def test_address_without_a_listener_is_no_mesh(mesh: ScriptedMesh) -> None:
    check_reachable(mesh.endpoint)
    with pytest.raises(NoMesh, match=r"127\.0\.0\.1:9 "):
        check_reachable("127.0.0.1:9")


def test_key_is_the_environments_then_a_files_then_the_homes(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "dev-server").write_text("of-home\n")
    (tmp_path / "named").write_text("of-file\n")
    named = {"HITMESH_KEY_FILE": str(tmp_path / "named")}
    assert server_key(tmp_path, named | {"HITMESH_KEY": "of-environment"}) == "of-environment"
    assert server_key(tmp_path, named) == "of-file"
    assert server_key(tmp_path, {}) == "of-home"
    assert server_key(tmp_path / "elsewhere", {}) is None
    with pytest.raises(RefusedError) as caught:
        server_key(tmp_path, {"HITMESH_KEY_FILE": str(tmp_path / "missing")})
    assert caught.value.reason == "INVALID_CONFIG"


@pytest.mark.parametrize("key", ["hms_a\nhms_b", "hms_ä", "hms_\u200b"])
def test_key_that_no_header_can_hold_is_refused_with_its_variable(tmp_path: Path, key: str) -> None:
    (tmp_path / "named").write_text(key)
    named = str(tmp_path / "named")
    for given in ({"HITMESH_KEY": key}, {"HITMESH_KEY_FILE": named}):
        with pytest.raises(RefusedError, match=next(iter(given))) as caught:
            server_key(tmp_path, given)
        assert (caught.value.reason, key in caught.value.message) == ("INVALID_CONFIG", False)


def test_missing_site_is_made_in_utc_and_dollars(mesh: ScriptedMesh) -> None:
    with Mesh.connect(mesh.endpoint, KEY) as client:
        made = ensure_site(client, SITE, None)
        assert (made.name, made.time_zone, made.currency) == (SITE, "UTC", "USD")
        assert ensure_site(client, SITE, "USD") == made
        assert ensure_site(client, site_name("demo/other"), "EUR").currency == "EUR"
        assert [site.name for site in list_sites(client)] == ["merchants/demo/sites/other", SITE]


def test_site_with_another_currency_is_refused_naming_both(mesh: ScriptedMesh) -> None:
    with Mesh.connect(mesh.endpoint, KEY) as client:
        ensure_site(client, SITE, "EUR")
        assert ensure_site(client, SITE, None).currency == "EUR"
        with pytest.raises(RefusedError, match="currency EUR, not USD"):
            ensure_site(client, SITE, "USD")


def test_making_a_site_needs_a_key_that_is_known(mesh: ScriptedMesh) -> None:
    with Mesh.connect(mesh.endpoint) as client, pytest.raises(RefusedError, match="server key"):
        ensure_site(client, SITE, None)
    with Mesh.connect(mesh.endpoint, "wrong") as client, pytest.raises(grpc.RpcError) as caught:
        ensure_site(client, SITE, None)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def a_freshness(
    dirty_days: int = 0, resettling_days: int = 0, complete_through_ms: int = 0, lag_ms: int = 0, **next_offsets: int
) -> reporter_pb2.GetFreshnessResponse:
    progress = [
        reporter_pb2.PartitionProgress(log=LOG, partition=int(name[1:]), next_offset=offset)
        for name, offset in next_offsets.items()
    ]
    answer = reporter_pb2.GetFreshnessResponse(
        partitions=progress, dirty_days=dirty_days, resettling_days=resettling_days
    )
    answer.freshness.complete_through.FromMilliseconds(complete_through_ms)
    answer.freshness.lag.FromMilliseconds(lag_ms)
    return answer


def test_hits_are_visible_once_every_partition_is_past_them_and_nothing_is_dirty() -> None:
    watch = Watch({(LOG, 0): 4, (LOG, 1): 9})
    assert watch.missing_in(a_freshness(p0=5, p1=9)) == f"1 of 2 partitions are behind, including {LOG}/1"
    assert watch.missing_in(a_freshness(p0=5)) is not None
    assert watch.missing_in(a_freshness(dirty_days=3, p0=5, p1=10)) == "3 days waiting for settlement"
    assert watch.missing_in(a_freshness(p0=5, p1=10)) is None
    assert Watch({}).missing_in(a_freshness()) is None


def test_hits_are_not_final_while_the_lag_is_unknown_and_a_day_waits() -> None:
    watch = Watch({(LOG, 0): 4})
    unknown = a_freshness(dirty_days=1, p0=5)
    unknown.freshness.ClearField("lag")
    assert watch.missing_in(unknown) == "1 day waiting for settlement"
    # The client knows the lag at time 10,000. All days that wait for settlement at time 10,000 must be settled first.
    assert watch.missing_in(a_freshness(dirty_days=1, complete_through_ms=9_000, lag_ms=1_000, p0=5)) is not None
    assert watch.missing_in(a_freshness(dirty_days=1, complete_through_ms=10_001, lag_ms=1_000, p0=5)) is None


def test_hits_that_keep_coming_do_not_keep_others_from_being_visible() -> None:
    watch = Watch({(LOG, 0): 4})
    # At time 10,000 the stream has read the hits. A day has waited for settlement since time 9,000, perhaps because of
    # the hits of this client.
    assert watch.missing_in(a_freshness(dirty_days=1, complete_through_ms=9_000, lag_ms=1_000, p0=5)) is not None
    # The day was settled, and another client's hit marked the day dirty again at time 9,900. The hits of this client
    # may still wait for settlement.
    assert watch.missing_in(a_freshness(dirty_days=1, complete_through_ms=9_900, lag_ms=600, p0=7)) is not None
    # Only hits that came after time 10,000 are pending, so the hits of this client are settled.
    assert watch.missing_in(a_freshness(dirty_days=1, complete_through_ms=10_700, lag_ms=50, p0=9)) is None


def test_a_day_that_settlement_settles_again_is_waited_for() -> None:
    watch = Watch({(LOG, 0): 4}, passed_at_ms=10_000)
    again = a_freshness(dirty_days=2, resettling_days=1, complete_through_ms=10_700, p0=9)
    assert watch.missing_in(again) == "1 day being resettled"


def test_waiting_ends_when_hits_are_visible_or_time_is_over(mesh: ScriptedMesh) -> None:
    slept: list[float] = []
    wait = Wait(1.0, clock_s=lambda: sum(slept), sleep=slept.append)
    with Mesh.connect(mesh.endpoint, KEY) as client:
        mesh.polls_until_visible = 3
        wait_until_visible(client, SITE, {(LOG, 0): 4}, wait)
        assert slept == [0.2, 0.2, 0.2]
        mesh.polls_until_visible = 1_000
        with pytest.raises(NotVisibleYet, match=r"after 1 s: 1 of 1 partitions are behind"):
            wait_until_visible(client, SITE, {(LOG, 0): 4}, wait)
    assert sum(slept) < 2.0


def test_client_library_imports_grpc_and_protobuf_only() -> None:
    code = (
        "import sys, hitmesh.client.sender, hitmesh.client.sites, hitmesh.client.visibility\n"
        "print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"polars", "numpy", "pyarrow", "click", "rich", "pydantic", "structlog"} & set(ran.stdout.split())
