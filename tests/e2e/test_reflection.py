"""Test reflection through Envoy: every service is listed and described, and buf calls an RPC by reflection alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hitmesh.tools.dev.envoy import descriptors
from tests.support.mesh import Mesh

FILES = descriptor_pb2.FileDescriptorSet.FromString(descriptors().read_bytes()).file
SERVICES = {f"{file.package}.{service.name}" for file in FILES for service in file.service}


@pytest.mark.timeout(30)
def test_reflection_lists_every_service_and_describes_it(mesh: Mesh) -> None:
    info = mesh.channel().stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(SERVICES)),
    ]
    listed, *described = info(iter(requests), timeout=60)
    assert {service.name for service in listed.list_services_response.service} >= SERVICES
    for name, answer in zip(sorted(SERVICES), described, strict=True):
        files = answer.file_descriptor_response.file_descriptor_proto
        assert files, name
        parsed = [descriptor_pb2.FileDescriptorProto.FromString(content) for content in files]
        assert any(f"{file.package}.{service.name}" == name for file in parsed for service in file.service)


@pytest.mark.timeout(60)
def test_buf_curl_calls_an_rpc_by_reflection_alone(mesh: Mesh) -> None:
    beside = Path(sys.executable).parent / "buf"
    buf = str(beside) if beside.exists() else shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed")
    url = f"{mesh.url}/hitmesh.api.reporter.v1.ReporterService/ListMetrics"
    done = subprocess.run(
        [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", "{}", url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any(metric["id"] == "visits" for metric in json.loads(done.stdout)["metrics"])
