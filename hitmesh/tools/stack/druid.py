"""Configuration and commands of the Druid processes and their ZooKeeper.

Everything in this module is pure, except for the health checks.

The indexer can run twenty tasks, so that tests may use several meshes at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.health import (
    broker_answers,
    coordinator_answers,
    druid_answers,
    indexer_answers,
    zookeeper_answers,
)
from hitmesh.tools.stack.server import HOST, Place, Server, jvm, log4j
from hitmesh.tools.stack.versions import EXTENSIONS

INDEXER_TASKS: Final = 20
# Maximum size in bytes of the rows that a task holds in memory (about 30,000 rows of `traffic`). If a task has more
# rows, the task writes the rows to disk. An ingestion spec cannot change this maximum. If the maximum were a third of
# this value, a task under load would write a part per second, and would later merge all parts at once. If the maximum
# were three times as large, rows would outlive Java's young generation, and reports would scan more rows in memory
# sequentially.
_TASK_MEMORY_BYTES: Final = 48 << 20
# Number of HTTP threads: enough for the supervisor's requests to every task, with some threads for queries.
_INDEXER_THREADS: Final = 2 * INDEXER_TASKS + 8
_ZOOKEEPER_HEAP: Final = ("-Xms32m", "-Xmx96m")
_HEAPS: Final = {
    "coordinator": ("-Xms128m", "-Xmx512m"),
    "broker": ("-Xms192m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"),
    "historical": ("-Xms192m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"),
    # The rows that tasks hold in memory survive one or two garbage collections. The young generation is large enough
    # for the rows of all tasks, so that collections are rare. With a smaller young generation, collections took a
    # quarter of the CPU time.
    "indexer": ("-Xms2g", "-Xmx3584m", "-Xmn1536m", "-XX:SurvivorRatio=4", "-XX:MaxDirectMemorySize=1g"),
}
_EXPORTS: Final = ("java.base/jdk.internal.misc", "java.base/jdk.internal.ref")
_OPENS: Final = (
    *("java.base/java.nio", "java.base/sun.nio.ch", "java.base/jdk.internal.ref", "java.base/java.io"),
    *("java.base/java.lang", "jdk.management/com.sun.management.internal"),
)
# Only historical processes cache results, because published segments never change. Results about the parts of running
# tasks must not be cached. If a task fails, a replacement task reads the same rows and gives its parts the same names.
# The replacement task may divide the rows differently, so that a part with the same name contains other rows.
_CACHE: Final = """druid.historical.cache.useCache=true
druid.historical.cache.populateCache=true
"""
# A group with a sketch may take 256 KiB of a merge buffer. Groups that do not fit are written to disk, so that the
# query does not fail.
_BUFFERS: Final = """druid.query.groupBy.maxOnDiskStorage=4GiB
druid.processing.buffer.sizeBytes=50MiB
druid.processing.numMergeBuffers=2
druid.processing.numThreads=1
"""


def zookeeper(place: Place) -> Server:
    """Return the ZooKeeper server, whose classes are in Druid's jars."""
    conf, data, port = place.conf / "zookeeper", place.data / "zookeeper", place.ports["zookeeper"]
    file, logging = conf / "zoo.cfg", conf / "log4j2.xml"
    properties = f"""tickTime=2000
dataDir={data}
clientPort={port}
clientPortAddress={HOST}
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr
maxClientCnxns=0
autopurge.purgeInterval=1
"""
    return Server(
        name="zookeeper",
        port=port,
        needs=(),
        files={file: properties, logging: log4j("warn")},
        folders=(data,),
        command=(
            *jvm(place, "zookeeper", *_ZOOKEEPER_HEAP, "-XX:+UseSerialGC"),
            f"-Dlog4j2.configurationFile={logging}",
            *("-cp", place.class_path(jars="lib/druid")),
            *("org.apache.zookeeper.server.ZooKeeperServerMain", str(file)),
        ),
        is_healthy=partial(zookeeper_answers, port),
    )


def coordinator(place: Place) -> Server:
    """Return the coordinator, which is also the overlord and hosts the metadata store."""
    # If this property were `true`, Druid would delete the compaction rules of data sources without segments at each
    # start. The data sources of a new mesh have no segments.
    properties = """druid.coordinator.kill.compaction.on=false
druid.coordinator.asOverlord.enabled=true
druid.coordinator.asOverlord.overlordService=druid/overlord
druid.coordinator.startDelay=PT1S
druid.coordinator.period=PT5S
druid.coordinator.period.indexingPeriod=PT30S
druid.coordinator.loadqueuepeon.http.repeatDelay=PT1S
druid.manager.segments.pollDuration=PT5S
druid.indexer.queue.startDelay=PT0S
druid.indexer.queue.restartDelay=PT1S
druid.indexer.storage.type=metadata
druid.indexer.runner.type=httpRemote
druid.server.http.numThreads=25
"""
    return _role(place, "coordinator", ("zookeeper",), properties, coordinator_answers)


def broker(place: Place) -> Server:
    """Return the broker, which answers queries."""
    properties = f"""druid.server.http.numThreads=12
druid.broker.http.numConnections=8
druid.broker.http.maxQueuedBytes=5MiB
{_BUFFERS}druid.processing.tmpDir={_data(place, "tmp-broker")}
druid.broker.cache.useCache=false
druid.broker.cache.populateCache=false
"""
    return _role(place, "broker", ("coordinator",), properties, broker_answers)


def historical(place: Place) -> Server:
    """Return the historical process, which serves segments after the tasks have handed them off."""
    cache = json.dumps([{"path": str(_data(place, "segment-cache")), "maxSize": "10g"}])
    properties = f"""druid.server.http.numThreads=12
{_BUFFERS}{_CACHE}druid.processing.tmpDir={_data(place, "tmp-historical")}
druid.segmentCache.locations={cache}
druid.segmentCache.announceIntervalMillis=500
druid.segmentCache.dropSegmentDelayMillis=2000
"""
    return _role(place, "historical", ("coordinator",), properties, druid_answers)


def indexer(place: Place) -> Server:
    """Return the indexer, whose tasks read Kafka.

    The indexer is healthy when the overlord lists it as a worker.

    All tasks share the threads that write and merge parts. By default, Druid has half as many merge threads as cores,
    whatever the number of tasks. With a single thread, all tasks waited while one task merged the rows of 15 minutes.
    """
    properties = f"""druid.worker.capacity={INDEXER_TASKS}
druid.worker.numConcurrentMerges={INDEXER_TASKS}
druid.worker.globalIngestionHeapLimitBytes={INDEXER_TASKS * _TASK_MEMORY_BYTES}
druid.worker.baseTaskDirs={json.dumps([str(_data(place, "task"))])}
druid.server.http.numThreads={_INDEXER_THREADS}
{_BUFFERS}druid.processing.tmpDir={_data(place, "tmp-indexer")}
druid.segment.handoff.pollDuration=PT2S
"""
    return _role(place, "indexer", ("coordinator",), properties, partial(indexer_answers, place.ports["coordinator"]))


def _role(
    place: Place, name: str, needs: tuple[str, ...], properties: str, is_healthy: Callable[[int], bool]
) -> Server:
    conf, common, port = place.conf / "druid" / name, place.conf / "druid" / "_common", place.ports[name]
    # All roles read the common files. Each role lists the common files in its `files`, because a role restarts only if
    # the digest of its files changes.
    files = {
        common / "common.runtime.properties": _common(place),
        common / "log4j2.xml": log4j("info"),
        conf / "runtime.properties": f"druid.service=druid/{name}\ndruid.plaintextPort={port}\n{properties}",
    }
    folders = ("tmp", f"tmp-{name}", "task", "segments", "segment-cache", "indexing-logs")
    return Server(
        name=name,
        port=port,
        needs=needs,
        files=files,
        folders=tuple(_data(place, folder) for folder in folders),
        command=(
            *jvm(place, name, *_HEAPS[name], "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
            *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
            f"-Djava.io.tmpdir={_data(place, 'tmp')}",
            "-Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager",
            f"-Dderby.stream.error.file={place.logs / 'derby.log'}",
            *("-cp", place.class_path(conf, common, jars="lib/druid")),
            *("org.apache.druid.cli.Main", "server", name),
        ),
        is_healthy=partial(is_healthy, port),
    )


def _common(place: Place) -> str:
    metadata = f"jdbc:derby://{place.address('coordinator-metadata')}/{_data(place, 'metadata.db')};create=true"
    return f"""druid.extensions.directory={place.jars / "extensions"}
druid.extensions.loadList={json.dumps(EXTENSIONS)}
druid.host={HOST}
druid.bindOnHost=true
druid.zk.service.host={place.address("zookeeper")}
druid.zk.paths.base=/druid
druid.metadata.storage.type=derby
druid.metadata.storage.connector.connectURI={metadata}
druid.metadata.storage.connector.host={HOST}
druid.metadata.storage.connector.port={place.ports["coordinator-metadata"]}
druid.storage.type=local
druid.storage.storageDirectory={_data(place, "segments")}
druid.indexer.logs.type=file
druid.indexer.logs.directory={_data(place, "indexing-logs")}
druid.selectors.indexing.serviceName=druid/overlord
druid.selectors.coordinator.serviceName=druid/coordinator
druid.emitter=noop
druid.monitoring.monitors=[]
druid.sql.enable=true
druid.lookup.enableLookupSyncOnStartup=false
druid.indexer.task.default.context={{"useConcurrentLocks":true}}
druid.startup.logging.logProperties=false
druid.global.http.numMaxThreads=8
druid.server.http.gracefulShutdownTimeout=PT3S
"""


def _data(place: Place, folder: str) -> Path:
    return place.data / "druid" / folder
