"""Connect to Cassandra, with contact points, datacenter, consistency levels and deadlines.

Reads and writes use LOCAL_QUORUM, and conditional writes use LOCAL_SERIAL. The driver must run on the libev event loop.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from cassandra import ConsistencyLevel, ProtocolVersion
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy

from hitmesh.adapters.cassandra.errors import EXPECTED, translated
from hitmesh.adapters.cassandra.row_types import rows_of
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.client_tls import client_context
from hitmesh.model.errors import FatalError

REQUEST_TIMEOUT_S: Final = 10.0
SCHEMA_TIMEOUT_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 5.0
# A node behind a broken network never answers, and its connections stay open. With the default of 30 s for each
# of the two numbers, a third of the requests to three nodes would wait for the node's answer for up to a minute.
_HEARTBEAT_S: Final = 5.0
_SERIAL: Final = "serial"
_PORT: Final = 9042
_LIBEV: Final = "LibevConnection"


def connect(servers: Servers, request_timeout_s: float, keyspace: str | None) -> Session:
    """Open a session without a default keyspace, because each statement names its keyspace.

    The driver loads only the replication settings of `keyspace`, which token-aware routing needs. The driver does not
    load the cluster's whole schema. Loading the whole schema takes a quarter of a second per 400 tables. If a session
    held the whole schema, the driver would load the schema again after each change in any keyspace.

    Raises:
        Unavailable: no contact point answers.
        FatalError: the datacenter does not exist, or the driver was built without libev.
    """
    logging.getLogger("cassandra.protocol").addFilter(_is_worth_saying)
    cluster = _cluster(servers, request_timeout_s)
    try:
        if cluster.connection_class.__name__ != _LIBEV:
            raise FatalError(
                f"the Cassandra driver uses {cluster.connection_class.__name__}, which loses time-outs under load; "
                "install a cassandra-driver built with libev",
                value=cluster.connection_class.__name__,
            )
        session = cluster.connect()
        if keyspace is not None:
            cluster.refresh_keyspace_metadata(keyspace, max_schema_agreement_wait=0)
        return session
    except EXPECTED as error:
        known = {host.datacenter for host in cluster.metadata.all_hosts()} - {None}
        cluster.shutdown()
        if known and servers.datacenter not in known:
            raise FatalError(
                f"Cassandra has no datacenter {servers.datacenter!r}, only {', '.join(sorted(known))}; "
                "write datacenter=… in the store URL",
                value=servers.datacenter,
                known=", ".join(sorted(known)),
            ) from error
        raise translated(error, f"connect to {servers.cassandra}") from error
    except FatalError:
        cluster.shutdown()
        raise


def _cluster(servers: Servers, request_timeout_s: float) -> Cluster:
    profiles = {
        name: ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(servers.datacenter)),
            consistency_level=consistency,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=request_timeout_s,
            row_factory=rows_of,
        )
        for name, consistency in (
            (EXEC_PROFILE_DEFAULT, ConsistencyLevel.LOCAL_QUORUM),
            (_SERIAL, ConsistencyLevel.LOCAL_SERIAL),
        )
    }
    return Cluster(
        contact_points=[_address(server) for server in servers.cassandra.split(",")],
        execution_profiles=profiles,
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 10.0),
        # Protocol version 5 needs Cassandra 4.0. In protocol version 5, each statement can name its keyspace.
        protocol_version=ProtocolVersion.V5,
        compression=False,  # compression is useless, because large values are already compressed
        connect_timeout=_CONNECT_TIMEOUT_S,
        control_connection_timeout=_CONNECT_TIMEOUT_S,
        idle_heartbeat_interval=_HEARTBEAT_S,
        idle_heartbeat_timeout=2 * _HEARTBEAT_S,
        max_schema_agreement_wait=SCHEMA_TIMEOUT_S,
        schema_metadata_enabled=False,
        # Without this setting, each change of any table makes every session poll until all nodes agree on the schema.
        schema_event_refresh_window=-1,
        **_encrypted(servers),
    )


def _encrypted(servers: Servers) -> dict[str, Any]:
    """Return the driver's options for TLS; empty without TLS.

    The driver checks the address of each node, or the name `tls_cassandra` in the certificate of every node.
    """
    if not servers.tls:
        return {}
    name = {"server_hostname": servers.tls_cassandra} if servers.tls_cassandra else {}
    return {"ssl_context": client_context(Path(servers.tls)), "ssl_options": name}


def _address(contact_point: str) -> tuple[str, int]:
    host, _, port = contact_point.strip().rpartition(":")
    return (host, int(port)) if host else (port, _PORT)


def profile_of(*, serial: bool) -> object:
    """Return the name of an execution profile.

    If `serial` is true, a read sees the outcome of all conditional writes.
    """
    return _SERIAL if serial else EXEC_PROFILE_DEFAULT


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Return False for the server's warning that a statement's text does not name its keyspace."""
    return "USE <keyspace>" not in record.getMessage()
