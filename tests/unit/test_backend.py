"""Test that a home directory keeps its first back end, and that `hitmesh init` has the schema's default sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import click
import pytest

from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions, checked
from hitmesh.adapters.servers import parse_servers
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.init import init
from hitmesh.tools.dev import backend
from hitmesh.tools.dev.backend import Backend, Choice, OtherBackend, choose
from hitmesh.tools.dev.dev import Mesh
from hitmesh.tools.dev.dev_options import DevOptions
from hitmesh.tools.dev.home import Home
from hitmesh.tools.dev.schema import apply
from hitmesh.tools.stack import commands, tcp_ports
from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.servers import store_url
from processor.settings import ProcessorSettings
from tests.unit.stack_place import PORTS

DEFAULT = Path("/srv/default")
OPTIONS = DevOptions(None, None, False, Backend.STACK, None, DEFAULT)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    prepared = Home(tmp_path / "home")
    prepared.prepare()
    return prepared


def test_a_new_home_is_embedded_by_default(home: Home) -> None:
    assert choose(home, None, None, DEFAULT) == Choice(Backend.EMBEDDED)
    assert backend.opened(home, Choice(Backend.EMBEDDED), pytest.fail).store_url == f"embedded:{home.data}"


def test_a_home_on_servers_keeps_its_name_and_its_servers(home: Home) -> None:
    first = choose(home, Backend.STACK, Path("/srv/one"), DEFAULT)
    assert first.backend is Backend.STACK
    assert first.stack_home == "/srv/one"
    assert choose(home, None, None, DEFAULT) == first
    assert choose(home, Backend.STACK, None, DEFAULT) == first
    moved = choose(home, None, Path("/srv/two"), DEFAULT)
    assert (moved.mesh, moved.stack_home) == (first.mesh, "/srv/two")


def test_the_name_of_a_mesh_is_one_that_servers_take_and_no_other_homes(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    names = {choose(each_home, Backend.STACK, None, DEFAULT).mesh for each_home in (home, other)}
    assert len(names) == 2
    for name in names:
        url = f"servers:?kafka=k:1&cassandra=c:1&broker=http://b:1&coordinator=http://o:1&name={name}"
        assert parse_servers(url).keyspace_name == name


def test_servers_have_moved_once_their_ports_differ_from_those_of_the_store(home: Home, tmp_path: Path) -> None:
    choice = Choice(Backend.STACK, "dev_1", str(tmp_path))
    # The servers' ports are not chosen yet.
    assert not backend.have_moved(replace(home, servers=f"{store_url(PORTS)}&name=dev_1"), choice)
    place = StackHome(tmp_path)
    place.prepare()
    tcp_ports.write(place.ports_file, PORTS)
    running = replace(home, servers=f"{store_url(PORTS)}&name=dev_1")
    assert not backend.have_moved(running, choice)
    tcp_ports.write(place.ports_file, {**PORTS, "kafka": 25_000})
    assert backend.have_moved(running, choice)
    assert not backend.have_moved(home, Choice(Backend.EMBEDDED))


class Recorded(Mesh):
    """A mesh that starts no process, but records which processes it would start."""

    def __init__(self, home: Home, choice: Choice) -> None:
        super().__init__(home, choice, OPTIONS, pytest.fail, lambda _: None)
        self.started: list[tuple[str, str]] = []

    def _fork(self, name: str, service: str, environment: Mapping[str, str]) -> None:
        self.started.append((name, next(value for key, value in environment.items() if key.endswith("_STORE"))))

    def _run(self, module: str, *arguments: str, shown: bool = False) -> None:
        self.started.append((module.rpartition(".")[2], arguments[1]))


def test_services_are_restarted_on_the_ports_to_which_the_servers_moved(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StackHome(tmp_path)
    place.prepare()
    tcp_ports.write(place.ports_file, PORTS)
    mesh = Recorded(
        replace(home, servers=f"{store_url(PORTS)}&name=dev_1"), Choice(Backend.STACK, "dev_1", str(tmp_path))
    )
    mesh.follow_servers()
    assert mesh.started == []
    tcp_ports.write(place.ports_file, {**PORTS, "kafka": 25_000})
    moved = store_url({**PORTS, "kafka": 25_000})
    # The test starts no servers, because that takes a minute.
    monkeypatch.setattr(commands, "ensure_up", lambda home, say: moved)
    mesh.follow_servers()
    assert mesh.started[0] == ("schema", f"{moved}&name=dev_1")
    assert {store for _, store in mesh.started[1:]} == {f"{moved}&name=dev_1"}
    assert {"collector", "processor", "reporter"} <= {name for name, _ in mesh.started[1:]}
    before = list(mesh.started)
    mesh.follow_servers()
    assert mesh.started == before


@pytest.mark.parametrize(("first", "second"), [(Backend.EMBEDDED, Backend.STACK), (Backend.STACK, Backend.EMBEDDED)])
def test_a_home_is_not_moved_to_another_back_end(first: Backend, second: Backend, home: Home) -> None:
    choose(home, first, None, DEFAULT)
    with pytest.raises(OtherBackend, match=f"back end {first}, not {second}"):
        choose(home, second, None, DEFAULT)


def test_a_home_from_before_there_was_a_choice_is_embedded(home: Home) -> None:
    home.server_key.write_text("hms_secret")
    with pytest.raises(OtherBackend):
        choose(home, Backend.STACK, None, DEFAULT)


def test_key_and_demo_note_of_a_mesh_whose_data_is_gone_are_deleted(home: Home) -> None:
    home.server_key.write_text("hms_secret")
    home.demo_note.write_text("{}")
    home.forget_mesh()
    home.forget_mesh()
    assert not home.server_key.exists()
    assert not home.demo_note.exists()


def test_on_servers_a_window_is_longer_than_embedded(tmp_path: Path) -> None:
    on_servers = backend.settings(Choice(Backend.STACK), "processor", "processor-0", tmp_path)
    embedded = backend.settings(Choice(Backend.EMBEDDED), "processor", "processor-0", tmp_path)
    assert set(on_servers) == set(embedded) - {"WINDOW_MS", "FLUSH_MS"}, "on servers the service's own pace is right"
    assert int(embedded["WINDOW_MS"]) < ProcessorSettings.model_fields["window_ms"].default


def test_only_what_differs_is_applied_but_topics_are_declared_again() -> None:
    applied: list[str] = []

    def a_change(server: str, action: Action) -> Change:
        thing = f"{server}-{action}"
        return Change(server, thing, action, "", lambda: applied.append(thing))

    lines: list[str] = []
    apply([a_change(server, action) for server in ("cassandra", "kafka", "druid") for action in Action], lines.append)
    assert applied == [
        *("cassandra-create", "cassandra-change"),
        *("kafka-create", "kafka-change", "kafka-keep"),
        *("druid-create", "druid-change"),
    ]
    assert len(lines) == 6


def test_init_offers_every_option_of_the_schema_with_its_default() -> None:
    offered = {option.name: option.default for option in init.params if isinstance(option, click.Option)}
    assert {name: offered.get(name) for name in asdict(SchemaOptions())} == asdict(SchemaOptions())


@pytest.mark.parametrize("url", ["memory:", "embedded:/srv/mesh", "stak"])
def test_init_of_a_store_that_has_no_servers_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--backend", url]) == 2
    assert "write a URL servers:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--series-ttl-days", "9"], ("--series-ttl-days 9", "at least 10")),
        (["--raw-ttl-days", "32", "--hits-retention-days", "30"], ("--raw-ttl-days 32", "at least 33")),
        (["--min-insync", "2"], ("--min-insync 2", "at most 1")),
    ],
)
def test_init_refuses_options_that_contradict_each_other(
    options: list[str], words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "servers:?kafka=127.0.0.1:1&cassandra=127.0.0.1:1&broker=http://127.0.0.1:1&coordinator=http://127.0.0.1:1"
    assert run(["init", "--backend", url, *options]) == 3
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_rows_that_outlive_the_log_by_three_days_are_kept_long_enough() -> None:
    assert checked(SchemaOptions(series_ttl_days=10, raw_ttl_days=10)).series_ttl_days == 10
