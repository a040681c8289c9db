"""Test the configuration of Kafka's topics, without a Kafka server."""

from __future__ import annotations

import pytest

from hitmesh.adapters.kafka.schema import wanted_topics
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.zones import DAY_MS
from tests.unit.scripted_druid import servers_at


@pytest.mark.parametrize("days", [1, 3, 30])
def test_rows_that_druid_has_are_deleted_soon_after_their_time_however_few_they_are(days: int) -> None:
    servers = servers_at("http://127.0.0.1:1")
    topics = {topic.name: topic.config for topic in wanted_topics(servers, SchemaOptions(rollups_retention_days=days))}
    for source in RowSource:
        config = topics[servers.rollups(source)]
        assert config["cleanup.policy"] == "delete"
        assert int(config["retention.ms"]) == days * DAY_MS
        assert int(config["retention.ms"]) + int(config["segment.ms"]) <= 1.1 * days * DAY_MS
