"""The file of an adapter has the name of the port that the adapter implements."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hitmesh.adapters.factory import open_stores
from hitmesh.adapters.stores import Stores
from hitmesh.model.positions import Topic
from hitmesh.runtime.clock import SystemClock

SERVERS = "servers:?kafka=localhost:1&cassandra=localhost:1&broker=http://localhost:1&coordinator=http://localhost:1"
NOT_PORTS = {"log_reader", "trim", "close", "check", "probes"}
PORTS = [field.name for field in fields(Stores) if field.name not in NOT_PORTS]


@pytest.mark.parametrize("scheme", ["memory", "embedded", "servers"])
def test_each_port_lies_in_the_file_of_its_name(scheme: str, tmp_path: Path) -> None:
    url = {"memory": "memory:", "embedded": f"embedded:{tmp_path}", "servers": SERVERS}[scheme]
    stores = open_stores(url, SystemClock())
    try:
        files = {port: type(getattr(stores, port)).__module__.rpartition(".")[2] for port in PORTS}
        if scheme != "servers":  # a reader of Kafka would connect to the broker at once
            files["log_reader"] = type(stores.log_reader(Topic.HITS, "group")).__module__.rpartition(".")[2]
    finally:
        stores.close()
    assert files == {port: port for port in files}
