"""Starts, compares, publishes and stops the shadow stream through the control service of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.reprocessing import DEFAULT_WAIT, is_passing
from hitmesh.client.visibility import Wait


def start_shadow(mesh: Mesh, logic: str) -> pb.ShadowStream:
    """Start the shadow stream with a logic version."""
    request = pb.StartShadowStreamRequest(logic=logic)
    return mesh.shadow.StartShadowStream(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).shadow_stream


def get_shadow(mesh: Mesh) -> pb.GetShadowStreamResponse:
    """Return the shadow stream."""
    return mesh.shadow.GetShadowStream(pb.GetShadowStreamRequest(), timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def diff_shadow(mesh: Mesh, sites: Sequence[str]) -> pb.GetShadowStreamDiffResponse:
    """Return the difference between the shadow stream and the live stream on these sites.

    An empty list means all sites.
    """
    request = pb.GetShadowStreamDiffRequest(sites=sites)
    return mesh.shadow.GetShadowStreamDiff(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def publish_shadow(mesh: Mesh) -> pb.ShadowStream:
    """Let reports read the shadow stream."""
    request = pb.PublishShadowStreamRequest()
    return mesh.shadow.PublishShadowStream(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).shadow_stream


def rollback_shadow(mesh: Mesh) -> pb.ShadowStream:
    """Let reports read the live stream again."""
    request = pb.RollbackShadowStreamRequest()
    return mesh.shadow.RollbackShadowStream(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).shadow_stream


def stop_shadow(mesh: Mesh) -> pb.ShadowStream:
    """Keep the stream that reports read, and drop the other stream."""
    request = pb.StopShadowStreamRequest()
    return mesh.shadow.StopShadowStream(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).shadow_stream


def wait_until(mesh: Mesh, is_reached: Callable[[pb.ShadowStream], bool], wait: Wait | None = None) -> pb.ShadowStream:
    """Block until `is_reached` is true for the shadow stream, and return the shadow stream.

    Args:
        mesh: the mesh.
        is_reached: returns whether the shadow stream is in the expected state.
        wait: `poll_s` is the poll interval, and `timeout_s` is the longest tolerated outage of the control service.
            Default: DEFAULT_WAIT.

    Raises:
        grpc.RpcError: the control service refuses the call, or has not answered for `timeout_s` seconds.
    """
    wait = wait or DEFAULT_WAIT
    answered_s = wait.clock_s()
    while True:
        try:
            found = get_shadow(mesh).shadow_stream
            answered_s = wait.clock_s()
            if is_reached(found):
                return found
        except grpc.RpcError as error:
            if not is_passing(error) or wait.clock_s() - answered_s > wait.timeout_s:
                raise
        wait.sleep(wait.poll_s)
