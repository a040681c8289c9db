"""Finds out within seconds which part of a mesh does not answer, so that a command can name the part and end."""

from __future__ import annotations

import http.client
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.model.reasons import LocalReason
from hitmesh.tools.cli.exits import CURE_UNREACHABLE, RPC_BASE, CommandFailed, Exit
from hitmesh.tools.doctor.gather_mesh import DOOR_PATH
from hitmesh.tools.doctor.http_calls import get
from hitmesh.tools.doctor.running import Watch, text_of

PROBE_S: Final = 3.0
_UNAVAILABLE: Final = RPC_BASE + 14
_CURE: Final = "examine the mesh with `hitmesh doctor`"


def silent_part(address: str, service: str, part: str) -> CommandFailed | None:
    """Return the error that names the part that does not answer, or None if both parts answer.

    Args:
        address: host:port of Envoy.
        service: full name of a gRPC service of the part behind Envoy.
        part: name of the part, for the message.
    """
    try:
        get(address, DOOR_PATH, Watch(PROBE_S), most_s=PROBE_S)
    except (OSError, http.client.HTTPException) as error:
        message = f"Envoy at {address} does not answer ({text_of(error)}): {CURE_UNREACHABLE}"
        return CommandFailed(Exit.UNREACHABLE, message, reason=LocalReason.NO_MESH)
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PROBE_S)
        except grpc.RpcError as error:
            return _silent(part, address, text_of(error))
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return _silent(part, address, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _silent(part: str, address: str, evidence: str) -> CommandFailed:
    return CommandFailed(
        _UNAVAILABLE,
        f"the {part} behind Envoy at {address} does not answer (health check: {evidence}): {_CURE}",
        reason=LocalReason.NOT_HEALTHY,
    )
