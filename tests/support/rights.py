"""Requests with which tests call every RPC, whatever the RPC does, over gRPC and REST."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hitmesh.access.rights import RULES
from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.api.control.v1 import (
    admin_pb2,
    operations_pb2,
    rejected_hits_pb2,
    reprocessing_pb2,
    shadow_pb2,
    trace_pb2,
)
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from hitmesh.model.names import merchant_of
from hitmesh.model.positions import Position
from hitmesh.model.refusals import RefusalKey, name_of
from tests.support.every_service import path_of
from tests.support.patience import patient
from tests.support.reporters import bearer

# The descriptor pool knows the services of imported modules only.
MODULES = (
    collector_pb2,
    json_pb2,
    admin_pb2,
    operations_pb2,
    rejected_hits_pb2,
    reprocessing_pb2,
    shadow_pb2,
    trace_pb2,
    export_pb2,
    reporter_pb2,
)
# The name in the rule's field, for RPCs whose field does not name a site.
NAMES: Mapping[str, Callable[[str], str]] = {
    "CreateSite": merchant_of,
    "ListSites": merchant_of,
    "CreateIngestKey": merchant_of,
    "GetMerchant": merchant_of,
    "ListIngestKeys": merchant_of,
    **dict.fromkeys(
        ("GetIngestKey", "UpdateIngestKey", "DeleteIngestKey", "RotateIngestKey", "RevokeIngestKey"),
        lambda site: f"{merchant_of(site)}/ingestKeys/no-such-key",
    ),
    "DeleteExclusionRule": lambda site: f"{site}/exclusionRules/1",
}


def a_request(method: MethodDescriptor, site: str, field: str = "") -> tuple[str, Message]:
    """Return a request for a resource of a site or of the site's merchant, and the resource's name.

    Apart from the name, the request is empty. If the request has no name, the returned name is empty. The name is in
    `field`, or in the first field of the RPC's rule.
    """
    message: Any = GetMessageClass(method.input_type)()
    rule = RULES[path_of(method)]
    refusal = name_of(RefusalKey(site, 5, Position("rejected.1", 0, 7), 2))
    if method.name == "GetRejectedHit":
        message.name = refusal
    if method.name == "DeleteSite":
        message.etag = "another etag"  # the call must not delete the site of a test
    if method.name == "MarkRejectedHitsReplayed":
        message.names.append(refusal)
    if not rule.fields:
        return "", message
    name = NAMES.get(method.name, str)(site)
    set_field(message, field or rule.fields[0], name)
    return name, message


def set_field(message: Any, path: str, value: str) -> None:
    """Set the field with a path such as `site.name`."""
    *outer, last = path.split(".")
    for part in outer:
        message = getattr(message, part)
    setattr(message, last, value)


def method_at(path: str) -> MethodDescriptor:
    """Return the method with a gRPC path."""
    service, name = path.removeprefix("/").split("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


def outcome(
    channel: grpc.Channel, method: MethodDescriptor, request: Message, secret: str | None
) -> tuple[grpc.StatusCode, str]:
    """Call a method with a key or without a key, and return the status code and the answer's message."""
    kind = "stream" if method.server_streaming else "unary"
    call: Any = getattr(channel, f"unary_{kind}")(
        path_of(method),
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    try:
        answer = call(request, metadata=bearer(secret) if secret else None, timeout=patient(20))
        if method.server_streaming:
            list(answer)
    except grpc.RpcError as error:
        return error.code(), str(error.details())
    return grpc.StatusCode.OK, ""


def rest_calls(method: MethodDescriptor, name: str) -> Iterator[tuple[str, str]]:
    """Yield the HTTP method and the path for each REST route of an RPC, for a resource."""
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    for route in (rule, *rule.additional_bindings):
        kind = str(route.WhichOneof("pattern"))
        yield kind.upper(), re.sub(r"\{[^}]+\}", name or "reprocessings/none", str(getattr(route, kind)))


def batch_with(key: str) -> Message:
    """Return a request that sends an empty hit with a key."""
    return collector_pb2.SendHitsRequest(batch=hit_pb2.HitBatch(ingest_key=key, hits=[hit_pb2.Hit()]))
