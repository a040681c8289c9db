"""Configuration and command of a member's Cassandra node.

Everything in this module is pure, except for the health check.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from hitmesh.tools.stack.health import cassandra_answers
from hitmesh.tools.stack.members import Member
from hitmesh.tools.stack.server import HOST, Place, Server, jvm

MEMBER_HEAP: Final = ("-Xms512m", "-Xmx1024m", "-Xss256k", "-XX:MaxDirectMemorySize=256m")
HEAP: Final = ("-Xms768m", "-Xmx1536m", "-Xss256k", "-XX:MaxDirectMemorySize=384m")
# Java packages that must be exported or opened, as listed in Cassandra's own jvm17-server.options.
_EXPORTS: Final = (
    *("java.base/jdk.internal.misc", "java.base/java.lang.ref", "java.sql/java.sql", "jdk.unsupported/sun.misc"),
    *("java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.management/com.sun.jmx.remote.security"),
    *("java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "jdk.attach/sun.tools.attach"),
    "jdk.compiler/com.sun.tools.javac.file",
)
_OPENS: Final = (
    *("java.base/java.lang", "java.base/java.lang.module", "java.base/java.lang.reflect", "java.base/java.io"),
    *("java.base/java.nio", "java.base/java.util", "java.base/sun.nio.ch", "java.base/jdk.internal.loader"),
    *("java.base/jdk.internal.ref", "java.base/jdk.internal.reflect", "java.base/jdk.internal.math"),
    *("java.base/jdk.internal.module", "java.base/jdk.internal.util.jar", "jdk.compiler/com.sun.tools.javac"),
    "jdk.management/com.sun.management.internal",
)
_LOGBACK: Final = (
    '<configuration><appender name="C" class="ch.qos.logback.core.ConsoleAppender"><encoder>'
    "<pattern>%d %-5level %logger{20} %msg%n</pattern></encoder></appender>"
    '<root level="INFO"><appender-ref ref="C"/></root></configuration>\n'
)


def cassandra(place: Place, member: Member) -> Server:
    """Return the server."""
    name = member.name("cassandra")
    conf, data = place.conf / name, place.data / name
    file = conf / "cassandra.yaml"
    settings = {
        "cassandra.config": file.as_uri(),
        "cassandra.storagedir": str(data),
        "cassandra.logdir": str(place.logs),
        "cassandra.triggers_dir": str(conf),
        "cassandra-foreground": "yes",
        # Wait only briefly for the ring, because no node joins a ring with data.
        "cassandra.ring_delay_ms": "1000",
        "cassandra.superuser_setup_delay_ms": "0",
        "java.net.preferIPv4Stack": "true",
        "java.rmi.server.hostname": HOST,
        "jdk.attach.allowAttachSelf": "true",
        "io.netty.tryReflectionSetAccessible": "true",
    }
    if member.number == 1:
        settings["cassandra.jmx.local.port"] = str(place.ports["cassandra-jmx"])
    if not place.is_replicated:
        settings["cassandra.skip_wait_for_gossip_to_settle"] = "0"
    return Server(
        name=name,
        port=place.ports["cassandra"],
        host=member.host,
        needs=_earlier(place, member),
        files={file: _yaml(place, member), conf / "logback.xml": _LOGBACK},
        folders=(data,),
        command=(
            *member.within,
            *jvm(place, name, *(MEMBER_HEAP if place.is_replicated else HEAP)),
            *("-XX:+UseG1GC", "-XX:+ParallelRefProcEnabled", "-XX:+PerfDisableSharedMem"),
            *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
            *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
            *(f"-D{name}={value}" for name, value in settings.items()),
            *("-cp", place.class_path(conf, jars="lib/cassandra")),
            "org.apache.cassandra.service.CassandraDaemon",
        ),
        is_healthy=partial(cassandra_answers, place.ports["cassandra"], member.host),
    )


def _earlier(place: Place, member: Member) -> tuple[str, ...]:
    """Return the node that must have joined the ring before this node."""
    return tuple(each.name("cassandra") for each in place.members if each.number == member.number - 1)


def _yaml(place: Place, member: Member) -> str:
    # The nodes share the tokens evenly. A new node has no data to fetch, because all nodes are new.
    step = 2**64 // len(place.members)
    ring = f"initial_token: {-(2**63) + step * (member.number - 1)}\nauto_bootstrap: false\n"
    memtables = 192 if place.is_replicated else 384
    return f"""cluster_name: hitmesh
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{place.address("cassandra-storage", place.members[0])}"
listen_address: {member.host}
rpc_address: {member.host}
storage_port: {place.ports["cassandra-storage"]}
ssl_storage_port: {place.ports["cassandra-storage-tls"]}
native_transport_port: {place.ports["cassandra"]}
start_native_transport: true
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_segment_size: 16MiB
commitlog_total_space: 1024MiB
memtable_heap_space: {memtables}MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: heap_buffers
file_cache_size: 64MiB
networking_cache_size: 32MiB
key_cache_size: 8MiB
counter_cache_size: 0MiB
row_cache_size: 0MiB
concurrent_reads: 8
concurrent_writes: 8
concurrent_compactors: 1
auto_snapshot: false
dynamic_snitch: false
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
{ring if place.is_replicated else ""}"""
