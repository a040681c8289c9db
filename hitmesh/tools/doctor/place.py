"""The mesh that a diagnosis is about: addresses, keys, stores, files and thresholds.

The place is found in the same way as by other commands: an option takes precedence over an environment variable, and an
environment variable over a file in the home directory.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import SCHEME
from hitmesh.adapters.urls import EMBEDDED, check_store_url
from hitmesh.client.home import (
    ENDPOINT_VARIABLE,
    METRICS_VARIABLE,
    OPERATOR_ENDPOINT_VARIABLE,
    READY_FILE,
    NoMesh,
    endpoint,
    operator_key,
    operators_endpoint,
    server_key,
)
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.model.server_facts import Expected
from hitmesh.ports import Clock
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev.given_settings import read_given
from hitmesh.tools.dev.instances import SERVICES
from hitmesh.tools.doctor.limits import Limits

ENVOY: Final = "envoy"
_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"
_TLS: Final = "TLS"


@dataclass(frozen=True, slots=True)
class Place:
    """The mesh, and the thresholds for the diagnosis.

    Attributes:
        home: the home directory; its files are read only if `uses_home`.
        uses_home: whether the mesh's files are in the home directory.
        door: host:port of the public listener; "" if no mesh runs, and `door_error` has the cause.
        operators: host:port of the operators' listener.
        server_key: key of a merchant, or None.
        operator_key: key of an operator, or None.
        store: the store URL; "" if unknown.
        envoy: host:port of the listener with Envoy's statistics; "" if unknown.
        processes: host:port of each process's metrics, by process name.
        certificates: files of certificates, or directories with such files, by the setting that names them.
        sizes: sizes that `hitmesh init` would get; `given_sizes` has the names of those that are certain.
        option_sizes: names of the sizes that options of the doctor gave.
        in_cluster: whether the doctor runs in Kubernetes.
        limits: thresholds.
        clock: the clock of this machine.
    """

    home: Path
    uses_home: bool
    door: str
    operators: str
    door_error: str = ""
    server_key: str | None = None
    operator_key: str | None = None
    store: str = ""
    envoy: str = ""
    processes: Mapping[str, str] = field(default_factory=dict)
    certificates: Mapping[str, Path] = field(default_factory=dict)
    sizes: SchemaOptions = field(default_factory=SchemaOptions)
    given_sizes: frozenset[str] = frozenset()
    option_sizes: frozenset[str] = frozenset()
    in_cluster: bool = False
    home_option: str = ""
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=SystemClock)

    @property
    def is_on_servers(self) -> bool:
        """Whether the mesh stores its data in Kafka, Cassandra and Druid."""
        return self.store.startswith(SCHEME)

    @property
    def expected(self) -> Expected:
        """The sizes of the mesh, for the pure judges."""
        values = {name: getattr(self.sizes, name) for name in SchemaOptions.__dataclass_fields__}
        return Expected(values, self.given_sizes)

    @property
    def init_options(self) -> str:
        """The options of `hitmesh init` for this mesh: the store URL, and the sizes that were given."""
        if not self.is_on_servers:
            return ""
        given = [name for name in SchemaOptions.__dataclass_fields__ if name in self.option_sizes]
        sizes = "".join(f" --{name.replace('_', '-')} {getattr(self.sizes, name)}" for name in given)
        return f" --backend {shlex.quote(self.store)}{sizes}"

    @property
    def data(self) -> Path | None:
        """The directory of embedded stores, or None."""
        return Path(self.store.removeprefix(EMBEDDED)) if self.store.startswith(EMBEDDED) else None


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's options. `sizes` has the options of `hitmesh init` that were given, by field name."""

    home: Path | None = None
    endpoint: str | None = None
    backend: str | None = None
    metrics: Sequence[str] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def find_place(options: Options, home: Path, environment: Mapping[str, str]) -> Place:
    """Return the place.

    Args:
        options: the command line's options.
        home: the home directory, according to options and environment.
        environment: the environment variables.

    Raises:
        RefusedError: an address, a store URL or a key is invalid.
    """
    elsewhere = options.endpoint or environment.get(ENDPOINT_VARIABLE) or environment.get(OPERATOR_ENDPOINT_VARIABLE)
    uses_home = options.home is not None or not elsewhere
    door, operators, error = _doors(options, home, environment)
    settings = _settings_of(home) if uses_home else {}
    ready = _ready(home) if uses_home else {}
    given = parse_metrics([*environment.get(METRICS_VARIABLE, "").split(","), *options.metrics])
    processes = {**_metrics_of(ready), **given}
    envoy = processes.pop(ENVOY, "")
    store = _store(options, settings, environment)
    return Place(
        home=home,
        uses_home=uses_home,
        door=door,
        operators=operators,
        door_error=error,
        server_key=server_key(home, environment),
        operator_key=operator_key(home, environment),
        store=store,
        envoy=envoy,
        processes=processes,
        certificates=_certificates({**settings, **environment}, store),
        sizes=SchemaOptions(**options.sizes),
        # `hitmesh dev` creates topics and tables with the default sizes.
        given_sizes=frozenset(SchemaOptions.__dataclass_fields__) if settings else frozenset(options.sizes),
        option_sizes=frozenset(options.sizes),
        in_cluster=bool(environment.get(_IN_CLUSTER)),
        home_option=f" --home {shlex.quote(str(options.home))}" if options.home is not None else "",
        limits=options.limits,
    )


def parse_metrics(entries: Sequence[str]) -> dict[str, str]:
    """Return host:port by process name, for entries NAME=HOST:PORT; empty entries are ignored.

    Raises:
        RefusedError: an entry has another form (INVALID_CONFIG).
    """
    found = {}
    for entry in filter(None, map(str.strip, entries)):
        name, _, address = entry.partition("=")
        host, _, port = address.rpartition(":")
        if not (name and host and port.isdecimal()):
            raise RefusedError(
                f"{entry!r} is not NAME=HOST:PORT: write for example collector=collector:9464",
                field=METRICS_VARIABLE,
                reason=LocalReason.INVALID_CONFIG,
            )
        found[name] = address
    return found


def _doors(options: Options, home: Path, environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the addresses of the public and the operators' listener, and why there is none."""
    try:
        door = endpoint(options.endpoint, home, environment)
        return door, operators_endpoint(options.endpoint, home, environment), ""
    except NoMesh as error:
        return "", "", error.message


def _store(options: Options, settings: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return the store URL: the option, or a service's setting in the environment or in the home."""
    names = [f"HITMESH_{service.upper()}_STORE" for service in SERVICES]
    variables = (settings, environment) if options.home is not None else (environment, settings)
    found = [values[name] for values in variables for name in names if values.get(name)]
    store = options.backend or next(iter(found), "")
    if store:
        check_store_url(store)
    return store


def _settings_of(home: Path) -> dict[str, str]:
    """Return the settings that `hitmesh dev` gave to the services of a home; services share the settings read here."""
    settings: dict[str, str] = {}
    for process in read_given(home / "run"):
        settings |= process.variables
    return settings


def _ready(home: Path) -> dict[str, Any]:
    try:
        ready = json.loads((home / READY_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return ready if isinstance(ready, dict) else {}


def _metrics_of(ready: Mapping[str, Any]) -> dict[str, str]:
    urls: Mapping[str, str] = ready.get("metrics", {})
    return {name: url.removeprefix("http://").partition("/")[0] for name, url in urls.items()}


def _certificates(variables: Mapping[str, str], store: str) -> dict[str, Path]:
    """Return the files and directories that settings of TLS and the store URL name, except private keys."""
    found = {
        name: Path(value)
        for name, value in sorted(variables.items())
        if name.startswith("HITMESH_")
        and _TLS in name.split("_")
        and "KEY" not in name.split("_")
        and "/" in value
        # The names of permitted callers are URIs, such as spiffe://hitmesh/envoy.
        and not name.endswith("_TLS_PEERS")
    }
    in_store = dict(parse_qsl(store.partition("?")[2])).get("tls")
    return {**found, "tls of the store URL": Path(in_store)} if in_store else found
