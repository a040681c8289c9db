"""Test what `hitmesh dev` prints and stores about the health of its processes, from Envoy's results."""

from __future__ import annotations

import json
from pathlib import Path

from hitmesh.tools.dev.conditions import Conditions
from hitmesh.tools.dev.envoy import Address
from hitmesh.tools.dev.health import HEALTHY, SILENT, UNHEALTHY, Causes
from hitmesh.tools.dev.instances import Instance

COLLECTOR = Instance("collector", "collector", "collector-0", Address("h", 1), Address("h", 2))
SETTLER = Instance("settler-0", "processor", "settler-0", Address("h", 3), Address("h", 4))
BOTH = (COLLECTOR, SETTLER)


class Mesh:
    """The causes that processes name, and the printed lines."""

    def __init__(self, file: Path) -> None:
        self.causes = {COLLECTOR.metrics: "", SETTLER.metrics: ""}
        self.lines: list[str] = []
        self.file = file
        self.conditions = Conditions(file, self.lines.append, lambda metrics: Causes(self.causes[metrics]))

    def look(self, check: str | None) -> list[str]:
        self.lines.clear()
        self.conditions.look(BOTH, None if check is None else {COLLECTOR.address: check})
        return list(self.lines)

    @property
    def state(self) -> object:
        return json.loads(self.file.read_text())


def test_a_change_is_printed_once_and_stored(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "health.json")
    assert mesh.look(HEALTHY) == []
    assert mesh.state == {"collector": {"ready": True}, "settler-0": {"ready": True}}
    mesh.causes[COLLECTOR.metrics] = "Kafka: no broker listens"
    assert mesh.look(UNHEALTHY) == ["collector is not ready, so it gets no calls: Kafka: no broker listens"]
    assert mesh.state == {
        "collector": {"ready": False, "cause": "Kafka: no broker listens"},
        "settler-0": {"ready": True},
    }
    assert mesh.look(UNHEALTHY) == []
    mesh.causes[COLLECTOR.metrics] = "Kafka: no answer for 5 s"
    assert mesh.look(UNHEALTHY) == []
    assert "no answer" in str(mesh.state)
    assert mesh.look(HEALTHY) == ["collector is ready again"]
    assert mesh.state == {"collector": {"ready": True}, "settler-0": {"ready": True}}


def test_a_process_that_answers_no_check_gets_no_request(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "health.json")
    mesh.causes[COLLECTOR.metrics] = "must not be asked"
    assert mesh.look(SILENT) == ["collector is not ready, so it gets no calls: no health check is answered"]


def test_a_process_that_envoy_does_not_check_gets_a_request(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "health.json")
    mesh.causes[SETTLER.metrics] = "Druid: no answer for 5 s"
    assert mesh.look(HEALTHY) == ["settler-0 is not ready, so it gets no calls: Druid: no answer for 5 s"]


def test_nothing_is_printed_while_envoy_does_not_answer(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "health.json")
    mesh.look(SILENT)
    assert mesh.look(None) == []
    assert mesh.look(HEALTHY) == ["collector is ready again"]


def test_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "absent" / "health.json")
    assert mesh.look(SILENT) == ["collector is not ready, so it gets no calls: no health check is answered"]
    (tmp_path / "absent").mkdir()
    mesh.look(SILENT)
    assert "no health check" in str(mesh.state)
