"""Rules for rendered manifests, part 3: certificates of Envoy and of the services (mTLS)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from hitmesh.runtime import probe
from hitmesh.runtime.config import load
from hitmesh.runtime.tls_files import AUTHORITIES, CERTIFICATE, KEY
from hitmesh.runtime.tls_identity import identity, peers_in
from tests.support.manifest_rules import ENVOY, HEALTH, PROBES, SETTINGS, envoy_config
from tests.support.manifest_traffic import BEHIND_ENVOY
from tests.support.manifests import (
    Object,
    Objects,
    container,
    named,
    of_kind,
    port,
    template,
    title,
    variables,
    workload,
)

# Settlers run the program of processors, and have its certificate.
PART: Final = {"settler": "processor"}
_WITH_SERVICE: Final = 8


def certificates(objects: Objects) -> Iterator[str]:
    """Each part has a certificate with its own URI, admits Envoy and its own probes, and is probed with it."""
    for name, declared in SETTINGS.items():
        item = workload(objects, name)
        loaded = load(declared, variables(objects, item))
        part = PART.get(name, name)
        yield from _mounted(objects, item, loaded.tls_dir, part)
        if peers_in(loaded.tls_peers) != {identity(ENVOY), identity(part)}:
            yield f"{title(item)}: admits {loaded.tls_peers}"
        for each in PROBES:
            command = container(item)[each].get("exec", {}).get("command", [])
            wanted = ["python", "-m", probe.__name__, str(port(item, "grpc")), "--tls-dir", loaded.tls_dir]
            if command[:6] != wanted or not _is_question(command, name, is_ready=each == "readinessProbe"):
                yield f"{title(item)}: {each}: {command}"
    yield from _of_envoy(objects)


def _is_question(command: list[str], name: str, *, is_ready: bool) -> bool:
    if not is_ready:
        return len(command) == _WITH_SERVICE - 2
    return len(command) == _WITH_SERVICE and command[6] == "--service" and command[7] in HEALTH[name]


def _mounted(objects: Objects, item: Object, place: str, part: str) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in template(item)["spec"]["volumes"]}
    mounted = [each for each in container(item)["volumeMounts"] if each["mountPath"] == place]
    secrets = [volumes[each["name"]].get("secret", {}).get("secretName") for each in mounted]
    made = {
        each["spec"]["secretName"]: each["spec"]
        for each in of_kind(objects, "Certificate")
        if identity(part) in each["spec"]["uris"]
    }
    if len(secrets) != 1 or secrets[0] not in made:
        yield f"{title(item)}: {place} is not the certificate of {part}: {secrets}"
        return
    spec = made[secrets[0]]
    if not {"server auth", "client auth"} <= set(spec["usages"]) or "localhost" not in spec["dnsNames"]:
        yield f"{title(item)}: its certificate is not for servers, clients and probes"


def _of_envoy(objects: Objects) -> Iterator[str]:
    item = workload(objects, ENVOY)
    config = {each["name"]: each for each in envoy_config(objects)["static_resources"]["clusters"]}
    for name in BEHIND_ENVOY:
        if f'"exact": "{identity(name)}"' not in json.dumps(config[name].get("transport_socket", {})):
            yield f"Envoy does not check the identity of {name}"
    data = named(objects, "ConfigMap", ENVOY)["data"]
    texts = " ".join(text for file, text in data.items() if file.startswith("sds-"))
    (folder,) = {str(PurePosixPath(word).parent) for word in texts.split('"') if word.endswith(f"/{KEY}")} or {""}
    yield from _mounted(objects, item, folder, ENVOY)
    yield from (f"Envoy does not read {file}" for file in (CERTIFICATE, KEY, AUTHORITIES) if f"/{file}" not in texts)
