"""Request fields that the path of a REST call binds, from the annotations of the API."""

from __future__ import annotations

import re
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

_BINDING = re.compile(r"\{([^.=}]+)")
"""The field of the request; for a path such as `site.name`, the outer field `site`."""


def path_fields(descriptors: Path) -> dict[str, list[str]]:
    """Return the bound fields of each method that has some, by the path of the gRPC call."""
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    return {
        f"/{file.package}.{service.name}/{method.name}": fields
        for file in files.file
        for service in file.service
        for method in service.method
        if (fields := _fields_of(method))
    }


def as_lua(fields: dict[str, list[str]]) -> str:
    """Return a Lua table: for each method, the field names by their spelling in lower case without underscores."""
    methods = (
        f'["{method}"]={{' + ",".join(f'["{name.replace("_", "").lower()}"]="{name}"' for name in names) + "}"
        for method, names in fields.items()
    )
    return "{" + ",".join(methods) + "}"


def _fields_of(method: descriptor_pb2.MethodDescriptorProto) -> list[str]:
    rule = method.options.Extensions[annotations_pb2.http]
    paths = [str(getattr(route, route.WhichOneof("pattern") or "get")) for route in (rule, *rule.additional_bindings)]
    return sorted({name for path in paths for name in _BINDING.findall(path)})
