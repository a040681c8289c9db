"""Test the configurations, commands, Maven projects and store URL of local servers."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hitmesh.adapters.servers import parse_servers
from hitmesh.tools.stack import poms, servers, tcp_ports, versions
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.kafka import cluster_id
from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.members import SINGLE, keep, on_loopback, read
from hitmesh.tools.stack.server import HOST
from tests.unit.stack_place import PORTS, rendered

ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


def configuration_of(name: str) -> str:
    server = rendered()[name]
    return "\n".join([*server.files.values(), *server.command])


@pytest.mark.parametrize("name", servers.names_of())
def test_a_server_listens_on_loopback_and_on_the_ports_that_were_chosen_for_it(name: str) -> None:
    text = configuration_of(name)
    assert set(ADDRESS.findall(text)) == {HOST}
    assert "0.0.0.0" not in text
    for port in tcp_ports.PORTS[name]:
        assert str(PORTS[port]) in text, port


@pytest.mark.parametrize("name", servers.names_of())
def test_a_server_keeps_its_files_folders_and_crash_log_below_its_home(name: str) -> None:
    server = rendered(Path("/srv/one"))[name]
    assert server.folders
    for path in (*server.files, *server.folders):
        assert path.is_relative_to("/srv/one/stack")
    assert f"-XX:ErrorFile=/srv/one/stack/logs/{name}-crash.log" in server.command


def test_dependencies_of_a_server_start_before_it_and_stop_after_it() -> None:
    order = list(servers.names_of())
    waves = {name: number for number, wave in enumerate(servers.stop_waves()) for name in wave}
    assert set(waves) == set(order) == set(tcp_ports.PORTS)
    for server in rendered().values():
        for needed in server.needs:
            assert order.index(needed) < order.index(server.name)
            assert waves[needed] > waves[server.name]


def test_digest_of_a_server_changes_with_the_ports_it_uses() -> None:
    before, after = rendered(), rendered(zookeeper=29_999)
    changed = {name for name in before if before[name].digest != after[name].digest}
    assert changed == {"zookeeper", "coordinator", "broker", "historical", "indexer"}
    assert {name: server.digest for name, server in rendered().items()} == {
        name: server.digest for name, server in before.items()
    }


def test_no_task_of_the_indexer_waits_for_what_another_merges() -> None:
    settings = dict(
        line.split("=", 1) for line in configuration_of("indexer").splitlines() if line.startswith("druid.")
    )
    tasks = int(settings["druid.worker.capacity"])
    assert int(settings["druid.worker.numConcurrentMerges"]) == tasks
    assert int(settings["druid.worker.globalIngestionHeapLimitBytes"]) % tasks == 0
    assert int(settings["druid.server.http.numThreads"]) > tasks


@pytest.mark.parametrize("role", ["kafka", "cassandra"])
def test_members_listen_on_their_own_addresses_and_know_each_other(role: str) -> None:
    members = rendered(members=on_loopback(3))
    for member in on_loopback(3):
        server = members[member.name(role)]
        text = "\n".join([*server.files.values(), *server.command])
        assert server.host == member.host
        assert f"{member.host}:{PORTS[role]}" in text or f"listen_address: {member.host}" in text
    if role == "kafka":
        voters = ",".join(f"{n}@127.0.0.{n}:{PORTS['kafka-controller']}" for n in (1, 2, 3))
        assert all(voters in "".join(members[name].files.values()) for name in ("kafka", "kafka-2", "kafka-3"))
        assert len({members[name].prepare[-1] for name in ("kafka", "kafka-2", "kafka-3")}) == 1
    else:
        tokens = {
            line for n in ("", "-2", "-3") for line in "".join(members[f"cassandra{n}"].files.values()).split("\n")
        }
        assert len([line for line in tokens if line.startswith("initial_token")]) == 3
        assert members["cassandra-3"].needs == ("cassandra-2",)


def test_topics_of_a_stack_with_members_have_copies() -> None:
    text = "".join(rendered(members=on_loopback(3))["kafka-2"].files.values())
    for name in ("default.replication.factor=3", "min.insync.replicas=2", "transaction.state.log.min.isr=2"):
        assert name in text.splitlines()


def test_a_store_url_names_all_members() -> None:
    found = parse_servers(servers.store_url(PORTS, on_loopback(3)))
    assert found.kafka == ",".join(f"127.0.0.{number}:{PORTS['kafka']}" for number in (1, 2, 3))
    assert found.cassandra == ",".join(f"127.0.0.{number}:{PORTS['cassandra']}" for number in (1, 2, 3))


def test_members_are_kept_and_never_change(tmp_path: Path) -> None:
    place = StackHome(tmp_path)
    place.base.mkdir()
    assert read(place.members_file) == SINGLE
    keep(place, on_loopback(3))
    assert read(place.members_file) == on_loopback(3)
    keep(place, on_loopback(3))
    with pytest.raises(StackError, match="has 3 members, not 1: copies of existing data would be missing"):
        keep(place, SINGLE)


def test_a_stack_with_data_gets_no_members(tmp_path: Path) -> None:
    place = StackHome(tmp_path)
    place.base.mkdir()
    place.ports_file.write_text("{}", encoding="utf-8")
    keep(place, SINGLE)
    with pytest.raises(StackError, match="has 1 members, not 3"):
        keep(place, on_loopback(3))


def test_a_damaged_list_of_members_is_named(tmp_path: Path) -> None:
    file = tmp_path / "members.json"
    file.write_text("[1]", encoding="utf-8")
    with pytest.raises(StackError, match=r"members\.json is not a list of members"):
        read(file)


def test_a_cluster_id_never_looks_like_an_option() -> None:
    assert all(not cluster_id(uuid.UUID(int=number << 120)).startswith("-") for number in range(256))
    assert len(cluster_id(uuid.UUID(int=1))) == 22


def test_services_understand_the_url_of_the_store() -> None:
    url = servers.store_url(PORTS)
    parsed = parse_servers(f"{url}&name=shop")
    assert parsed.kafka == f"{HOST}:{PORTS['kafka']}"
    assert parsed.cassandra == f"{HOST}:{PORTS['cassandra']}"
    assert parsed.broker == f"http://{HOST}:{PORTS['broker']}"
    assert parsed.coordinator == f"http://{HOST}:{PORTS['coordinator']}"
    assert parsed.datacenter == "datacenter1"  # fixed by SimpleSnitch
    assert parse_servers(url).url == url


@pytest.mark.parametrize("artifact", versions.ARTIFACTS, ids=lambda artifact: artifact.folder)
def test_the_maven_project_names_every_part_with_its_version(artifact: versions.Artifact) -> None:
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    project = ElementTree.fromstring(poms.pom(artifact))
    found = [
        tuple(str(dependency.findtext(f"m:{field}", "", space)) for field in ("groupId", "artifactId", "version"))
        for dependency in project.findall("m:dependencies/m:dependency", space)
    ]
    assert found == list(artifact.parts)
    assert len(project.findall(".//m:exclusion", space)) == len(artifact.left_out) * len(artifact.parts)
    assert len(project.findall("m:dependencyManagement//m:dependency", space)) == (artifact.managed is not None)


def test_maven_uses_no_repository_but_the_central_repository(tmp_path: Path) -> None:
    mirror = ElementTree.fromstring(poms.settings(tmp_path / "a & b")).find("mirrors/mirror")
    assert mirror is not None
    assert mirror.findtext("mirrorOf") == "*,!central"
    assert str(mirror.findtext("url")).startswith("file:///")
