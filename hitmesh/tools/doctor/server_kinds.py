"""The kinds of findings about Kafka, Cassandra and Druid. docs/doctor.md lists them.

Names in commands: see hitmesh.tools.doctor.kinds.
"""

from __future__ import annotations

from typing import Final

from hitmesh.tools.doctor.findings import Kind, Severity

_INIT: Final = "hitmesh init{init}"

TOPIC_MISSING: Final = Kind(
    "TOPIC_MISSING",
    Severity.ERROR,
    "A topic does not exist.",
    "Create the topic; the command shows the change, and asks before it applies the change.",
    _INIT,
)
TOPIC_PARTITIONS: Final = Kind(
    "TOPIC_PARTITIONS",
    Severity.ERROR,
    "A topic has another number of partitions than the mesh expects.",
    "For a topic that Druid reads, the command adds partitions. The partitions of a log never change: give the mesh "
    "another name, or restore the topic.",
    _INIT,
)
LOG_NOT_DECLARED: Final = Kind(
    "LOG_NOT_DECLARED",
    Severity.ERROR,
    "A log's topic was deleted and created again, or was never declared, so services read another log.",
    "Declare the log; hits that the old topic had and the raw store has not are lost.",
    _INIT,
)
TOPIC_RETENTION: Final = Kind(
    "TOPIC_RETENTION",
    Severity.ERROR,
    "A topic keeps records for another time than expected. If the time is too short, a stopped stream loses hits.",
    "Set the retention; the command shows the change, and asks before it applies the change.",
    _INIT,
)
TOPIC_SETTING: Final = Kind(
    "TOPIC_SETTING",
    Severity.ERROR,
    "A setting of a topic was changed, on which exactness or durability depends.",
    "Set the value back; the command shows the change, and asks before it applies the change.",
    _INIT,
)
TOPIC_REPLICAS: Final = Kind(
    "TOPIC_REPLICAS",
    Severity.ERROR,
    "A topic has another number of replicas than the mesh was given.",
    "Move the replicas with Kafka's own tool, then check again.",
    "kafka-reassign-partitions.sh --help",
)
UNDER_REPLICATED: Final = Kind(
    "UNDER_REPLICATED",
    Severity.WARNING,
    "A replica of a partition is not in sync. If more replicas fail, hits are not acknowledged.",
    "Start the broker that is down, and wait until its replicas have caught up.",
    "kafka-topics.sh --describe --under-replicated-partitions --bootstrap-server {kafka}",
)
NO_LEADER: Final = Kind(
    "NO_LEADER",
    Severity.ERROR,
    "A partition has no leader, or fewer replicas in sync than min.insync.replicas, so hits are not acknowledged.",
    "Start the brokers that are down.",
    "kafka-topics.sh --describe --unavailable-partitions --bootstrap-server {kafka}",
    "kubectl get pods --all-namespaces",
)
KEYSPACE_MISSING: Final = Kind(
    "KEYSPACE_MISSING",
    Severity.ERROR,
    "The mesh's keyspace does not exist.",
    "Restore Cassandra from a back-up. For a new mesh, create the keyspace.",
    _INIT,
)
MIGRATION_MISSING: Final = Kind(
    "MIGRATION_MISSING",
    Severity.ERROR,
    "The tables of this version are not all there.",
    "Apply the migrations; the command shows them, and asks before it applies them.",
    _INIT,
)
SCHEMA_UNKNOWN: Final = Kind(
    "SCHEMA_UNKNOWN",
    Severity.ERROR,
    "The applied migrations are not those of this version.",
    "Use the version of hitmesh that created the tables, or a newer version.",
    "hitmesh version",
)
NODE_DOWN: Final = Kind(
    "NODE_DOWN",
    Severity.WARNING,
    "A Cassandra node is down. If more nodes fail, reads and writes fail.",
    "Start the node; afterwards, let it repair.",
    "nodetool status",
    "kubectl get pods --all-namespaces",
)
ROW_REPLICAS: Final = Kind(
    "ROW_REPLICAS",
    Severity.ERROR,
    "The keyspace has fewer replicas than the mesh was given.",
    "Raise the replicas; the command shows the change. Afterwards, run nodetool repair --full.",
    _INIT,
)
ROWS_EXPIRE: Final = Kind(
    "ROWS_EXPIRE",
    Severity.ERROR,
    "A table keeps rows for a shorter time than a settlement may need.",
    "Set the retention; the command shows the change, and asks before it applies the change.",
    _INIT,
)
SUPERVISOR_MISSING: Final = Kind(
    "SUPERVISOR_MISSING",
    Severity.ERROR,
    "A data source has no supervisor, so Druid ingests no rows, and reports with dimensions lack the newest hits.",
    "Create the supervisor; the command shows the change, and asks before it applies the change.",
    _INIT,
)
SUPERVISOR_SUSPENDED: Final = Kind(
    "SUPERVISOR_SUSPENDED",
    Severity.ERROR,
    "A supervisor is suspended, so Druid ingests no rows, and reports with dimensions lack the newest hits.",
    "Resume the supervisor; the command shows the change, and asks before it applies the change.",
    _INIT,
)
SUPERVISOR_UNHEALTHY: Final = Kind(
    "SUPERVISOR_UNHEALTHY",
    Severity.ERROR,
    "A supervisor or its tasks fail.",
    "Read the errors in the evidence and in the task's log; correct the cause, for example memory or task slots.",
    "hitmesh stack logs indexer",
    "kubectl get pods --all-namespaces",
)
INGESTION_LAG: Final = Kind(
    "INGESTION_LAG",
    Severity.WARNING,
    "Druid is far behind the topic, so reports with dimensions are late.",
    "Wait, or give the supervisor more tasks (--task-count) up to the number of partitions.",
    _INIT,
)
SEGMENTS_UNAVAILABLE: Final = Kind(
    "SEGMENTS_UNAVAILABLE",
    Severity.ERROR,
    "No data server has loaded some segments, so reports with dimensions lack rows.",
    "Start the historical servers, and make sure that they have room on their disks.",
    "hitmesh stack logs historical",
    "kubectl get pods --all-namespaces",
)
NO_COMPACTION: Final = Kind(
    "NO_COMPACTION",
    Severity.WARNING,
    "A data source has no compaction or no retention rule, so its segments grow without limit.",
    "Set both; the command shows the change, and asks before it applies the change.",
    _INIT,
)
