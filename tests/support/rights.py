"""Requests with which tests call every RPC, whatever the RPC does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hitmesh.access.rights import RULES
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.names import merchant_of
from hitmesh.model.positions import Position
from hitmesh.model.refusals import RefusalKey, name_of
from tests.support.every_service import path_of

# The name in the rule's field, for RPCs whose field does not name a site.
NAMES: Mapping[str, Callable[[str], str]] = {
    "CreateSite": merchant_of,
    "ListSites": merchant_of,
    "CreateIngestKey": merchant_of,
    "RevokeIngestKey": lambda site: f"{merchant_of(site)}/ingestKeys/no-such-key",
    "DeleteExclusionRule": lambda site: f"{site}/exclusionRules/1",
}


def a_request(method: MethodDescriptor, site: str) -> tuple[str, Message]:
    """Return a request for a resource of a site or of the site's merchant, and the resource's name.

    Apart from the name, the request is empty. If the request has no name, the returned name is empty.
    """
    message: Any = GetMessageClass(method.input_type)()
    rule = RULES[path_of(method)]
    refusal = name_of(RefusalKey(site, 5, Position("rejected.1", 0, 7), 2))
    if method.name == "GetRejectedHit":
        message.name = refusal
    if method.name == "MarkRejectedHitsReplayed":
        message.names.append(refusal)
    if not rule.field:
        return "", message
    name = NAMES.get(method.name, str)(site)
    *outer, last = rule.field.split(".")
    target = message
    for part in outer:
        target = getattr(target, part)
    setattr(target, last, name)
    return name, message


def batch_with(key: str) -> Message:
    """Return a request that sends an empty hit with a key."""
    return collector_pb2.SendHitsRequest(batch=hit_pb2.HitBatch(ingest_key=key, hits=[hit_pb2.Hit()]))
