"""Gathers facts about Kafka, Cassandra and Druid. The drivers are imported at the first use."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.adapters.shared.client_tls import client_context
from hitmesh.adapters.urls import without_driver
from hitmesh.model.errors import HitmeshError
from hitmesh.model.server_facts import DruidSource
from hitmesh.tools.doctor.facts import ClockReading
from hitmesh.tools.doctor.http_calls import clock_reading, get
from hitmesh.tools.doctor.judge_servers import TablesFacts, TopicsFacts
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch

_CALL_S: Final = 8.0


def gather_topics(place: Place, watch: Watch) -> TopicsFacts:
    """Read partitions, replicas and settings of the topics."""
    servers = _servers(place)
    try:
        from hitmesh.adapters.cassandra.keyspace_facts import declared_logs
        from hitmesh.adapters.kafka.topic_facts import kafka_topics
    except ModuleNotFoundError as error:
        raise without_driver(place.store, error) from error
    watch.on(f"Cassandra at {servers.cassandra}")
    try:
        declared = declared_logs(servers, watch.left_s(_CALL_S))
    except HitmeshError:  # the check of tables reports Cassandra's problems
        declared = None
    watch.on(f"Kafka at {servers.kafka}")
    topics = kafka_topics(servers, place.sizes, declared, watch.left_s(_CALL_S))
    return TopicsFacts(tuple(topics), servers.kafka, place.expected)


def gather_tables(place: Place, watch: Watch) -> TablesFacts:
    """Read keyspace, migrations, nodes and retention."""
    servers = _servers(place)
    watch.on(f"Cassandra at {servers.cassandra}")
    try:
        from hitmesh.adapters.cassandra.keyspace_facts import cassandra_keyspace
    except ModuleNotFoundError as error:
        raise without_driver(place.store, error) from error
    return TablesFacts(cassandra_keyspace(servers, watch.left_s(_CALL_S)), place.expected)


def gather_sources(place: Place, watch: Watch) -> tuple[DruidSource, ...]:
    """Read supervisors, lag and segments."""
    servers = _servers(place)
    watch.on(f"Druid's coordinator at {servers.coordinator}")
    try:
        from hitmesh.adapters.druid.source_facts import druid_sources
    except ModuleNotFoundError as error:
        raise without_driver(place.store, error) from error
    return tuple(druid_sources(servers))


def clocks_of_servers(place: Place, watch: Watch) -> Iterator[ClockReading]:
    """Read the clocks of Cassandra and Druid. The canary compares Kafka's clock, which gives hits their log time.

    Other checks report a server that does not answer.
    """
    servers = _servers(place)
    for name, url in (("Druid's coordinator", servers.coordinator), ("Druid's broker", servers.broker)):
        watch.on(f"the clock of {name} at {url}")
        before = place.clock.now()
        try:
            tls = client_context(Path(servers.tls)) if servers.tls else None
            _, headers, _ = get(urlsplit(url).netloc, "/status/health", watch, most_s=2.0, tls=tls)
        except (OSError, http.client.HTTPException, HitmeshError):
            continue
        reading = clock_reading(name, headers, before, place.clock.now())
        if reading is not None:
            yield reading
    watch.on(f"the clock of Cassandra at {servers.cassandra}")
    try:
        from hitmesh.adapters.cassandra.keyspace_facts import cassandra_now

        before = place.clock.now()
        yield ClockReading("Cassandra", cassandra_now(servers, watch.left_s(_CALL_S)), 1, before, place.clock.now())
    except (HitmeshError, ModuleNotFoundError):
        return


def _servers(place: Place) -> Servers:
    return parse_servers(place.store)
