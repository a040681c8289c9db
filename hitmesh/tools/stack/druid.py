"""Druid's processes and the ZooKeeper they find each other by: configuration, commands. Pure but for the questions.

Decides sizes: the indexer takes twenty tasks, so that tests may run several meshes at once.
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
# Rows a task holds before it writes them, whatever its specification says: about 30,000 of `traffic`. With a third of
# it a task under load writes a part a second, all to be merged at once; with three times as much, rows outlive the
# nursery, and reports look through all that are held one by one.
_TASK_MEMORY_BYTES: Final = 48 << 20
# Every task has a place among the requests for its supervisor, and some are left for queries.
_INDEXER_THREADS: Final = 2 * INDEXER_TASKS + 8
_ZOOKEEPER_HEAP: Final = ("-Xms32m", "-Xmx96m")
_HEAPS: Final = {
    "coordinator": ("-Xms128m", "-Xmx512m"),
    "broker": ("-Xms192m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"),
    "historical": ("-Xms192m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m"),
    # What tasks hold until they write it survives a collection or two. It has room among the young, and collections are
    # seldom: where they were not, they took a quarter of the time.
    "indexer": ("-Xms2g", "-Xmx3584m", "-Xmn1536m", "-XX:SurvivorRatio=4", "-XX:MaxDirectMemorySize=1g"),
}
_EXPORTS: Final = ("java.base/jdk.internal.misc", "java.base/jdk.internal.ref")
_OPENS: Final = (
    *("java.base/java.nio", "java.base/sun.nio.ch", "java.base/jdk.internal.ref", "java.base/java.io"),
    *("java.base/java.lang", "jdk.management/com.sun.management.internal"),
)
# Segments never change. Not for what tasks still read: another task that reads the same rows again, after one failed,
# gives its parts the same names, and cuts them elsewhere.
_CACHE: Final = """druid.historical.cache.useCache=true
druid.historical.cache.populateCache=true
"""
# A group with a sketch may take 256 KiB of a merge buffer; what does not fit goes to the disk instead of being refused.
_BUFFERS: Final = """druid.query.groupBy.maxOnDiskStorage=4GiB
druid.processing.buffer.sizeBytes=50MiB
druid.processing.numMergeBuffers=2
druid.processing.numThreads=1
"""


def zookeeper(place: Place) -> Server:
    """Returns the server; Druid's jars bring it along."""
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
    """Returns the coordinator, which is overlord too and carries the metadata store."""
    # Druid removes the merging rules of data sources without segments when it starts: those of a mesh that is new.
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
    """Returns the broker, which answers queries."""
    properties = f"""druid.server.http.numThreads=12
druid.broker.http.numConnections=8
druid.broker.http.maxQueuedBytes=5MiB
{_BUFFERS}druid.processing.tmpDir={_data(place, "tmp-broker")}
druid.broker.cache.useCache=false
druid.broker.cache.populateCache=false
"""
    return _role(place, "broker", ("coordinator",), properties, broker_answers)


def historical(place: Place) -> Server:
    """Returns the historical, which serves segments that are handed on."""
    cache = json.dumps([{"path": str(_data(place, "segment-cache")), "maxSize": "10g"}])
    properties = f"""druid.server.http.numThreads=12
{_BUFFERS}{_CACHE}druid.processing.tmpDir={_data(place, "tmp-historical")}
druid.segmentCache.locations={cache}
druid.segmentCache.announceIntervalMillis=500
druid.segmentCache.dropSegmentDelayMillis=2000
"""
    return _role(place, "historical", ("coordinator",), properties, druid_answers)


def indexer(place: Place) -> Server:
    """Returns the indexer, whose tasks read Kafka; healthy once the overlord gives it tasks.

    All tasks share the threads that write parts and merge them. Unless it is told, those are half as many as cores,
    whatever its capacity: with one, all tasks stood still while one merged what it had read in a quarter of an hour.
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
    # Read by all roles: each writes the same, so that a change starts all of them anew.
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
            *(f"--add-exports={one}=ALL-UNNAMED" for one in _EXPORTS),
            *(f"--add-opens={one}=ALL-UNNAMED" for one in _OPENS),
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
