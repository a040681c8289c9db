"""Finds the paths of REST calls, finds the request fields that the paths set, and removes methods from descriptors.

The annotations `google.api.http` in the protos define the paths.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_BINDING = re.compile(r"\{([^.=}]+)")
"""Matches a field of the request; for a nested field such as `site.name`, the match is the outer field `site`."""


def path_fields(descriptors: Path) -> dict[str, list[str]]:
    """Return the request fields that the REST paths of each method set, keyed by the method's gRPC path.

    A method whose REST paths set no field is left out.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    return {
        f"/{file.package}.{service.name}/{method.name}": fields
        for file in files.file
        for service in file.service
        for method in service.method
        if (fields := _fields_of(method))
    }


def as_lua(fields: dict[str, list[str]]) -> str:
    """Return a Lua table that has a table of field names for each method.

    The keys are the field names in lower case without underscores.
    """
    methods = (
        f'["{method}"]={{' + ",".join(f'["{name.replace("_", "").lower()}"]="{name}"' for name in names) + "}"
        for method, names in fields.items()
    )
    return "{" + ",".join(methods) + "}"


def rest_paths(descriptors: Path, methods: frozenset[str]) -> list[str]:
    """Return the REST paths of methods, without the paths that contain fields.

    Args:
        descriptors: file with the descriptor set.
        methods: gRPC paths of the methods.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())
    found = (
        path
        for file in files.file
        for service in file.service
        for method in service.method
        if f"/{file.package}.{service.name}/{method.name}" in methods
        for path in _paths_of(method)
    )
    return sorted({path for path in found if path and "{" not in path})


def without_methods(descriptors: Path, paths: frozenset[str]) -> bytes:
    """Return a descriptor set without some methods, and without services that have no other method.

    The result depends only on the arguments, not on the modules that the process has loaded.

    Args:
        descriptors: file with the descriptor set.
        paths: gRPC paths of the methods.
    """
    files = _plain_set().FromString(descriptors.read_bytes())
    for file in files.file:
        for service in file.service:
            kept = [each for each in service.method if f"/{file.package}.{service.name}/{each.name}" not in paths]
            del service.method[:]
            service.method.extend(kept)
        services = [service for service in file.service if service.method]
        del file.service[:]
        file.service.extend(services)
    return files.SerializeToString(deterministic=True)


def _plain_set() -> type[descriptor_pb2.FileDescriptorSet]:
    """Return a class of descriptor sets that knows no extensions, so that their order never changes."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
    descriptor = pool.FindMessageTypeByName(descriptor_pb2.FileDescriptorSet.DESCRIPTOR.full_name)
    return cast("type[descriptor_pb2.FileDescriptorSet]", message_factory.GetMessageClass(descriptor))


def _fields_of(method: descriptor_pb2.MethodDescriptorProto) -> list[str]:
    return sorted({name for path in _paths_of(method) for name in _BINDING.findall(path)})


def _paths_of(method: descriptor_pb2.MethodDescriptorProto) -> list[str]:
    rule = method.options.Extensions[annotations_pb2.http]
    return [str(getattr(route, route.WhichOneof("pattern") or "get")) for route in (rule, *rule.additional_bindings)]
