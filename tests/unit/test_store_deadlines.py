"""Test that a probe of a store that hangs ends early, and that a reader hands over before it takes a certificate."""

from __future__ import annotations

from typing import Any

import pytest

from hitmesh.adapters.cassandra.probe import ANSWER_S, CassandraProbe
from hitmesh.adapters.kafka.log_reader import KafkaLogReader
from hitmesh.adapters.served import Served
from hitmesh.model.errors import HitmeshError, Unavailable
from hitmesh.runtime.vitals import SILENT_AFTER_S
from reporter.__main__ import probe_any


class Recorder:
    """A session, or a certificate, that records what it is called with."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []

    def ask(self, cql: str, timeout_s: float) -> None:
        self.deadlines.append(timeout_s)

    def has_changed(self) -> bool:
        return True


def test_cassandra_has_less_time_than_the_limit_of_silence() -> None:
    session: Any = Recorder()
    CassandraProbe(session)()
    assert session.deadlines == [ANSWER_S]
    assert 2 * ANSWER_S < SILENT_AFTER_S


def test_a_reporter_probes_the_server_first_that_answered_last() -> None:
    probed: list[str] = []
    away = {"cassandra"}

    def probe_of(name: str) -> Any:
        def probe() -> None:
            probed.append(name)
            if name in away:
                raise Unavailable(name)

        return probe

    [probe] = probe_any({Served.TABLES: probe_of("cassandra"), Served.ROWS: probe_of("druid")}).values()
    probe()
    probe()
    assert probed == ["cassandra", "druid", "druid"]
    away.symmetric_difference_update({"cassandra", "druid"})
    probe()
    probe()
    assert probed[3:] == ["druid", "cassandra", "cassandra"]
    away.add("cassandra")
    with pytest.raises(HitmeshError):
        probe()


def test_a_reader_with_a_replaced_certificate_hands_over_first() -> None:
    reader: Any = KafkaLogReader.__new__(KafkaLogReader)  # without a broker
    handed: list[int] = []
    reader._certificates, reader._kafka_topic = Recorder(), "hits"
    reader.before_moves(lambda: handed.append(0))
    with pytest.raises(Unavailable, match="certificate that was replaced"):
        reader.poll(1, 0.0)
    assert handed == [0]
