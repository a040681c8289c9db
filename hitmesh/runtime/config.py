"""Settings of the services.

Each service has a pydantic model of its settings. Only composition roots (a service's main module) read the
environment.

If an environment variable has the service's prefix but is not a setting, the settings are refused. Otherwise, a
misspelt setting would silently keep its default. The message suggests the most similar setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.described import variables_of
from hitmesh.runtime.tls_identity import identity, is_loopback, peers_in, plaintext_server
from hitmesh.runtime.variables import Allowed, Unit, Variable, masked, nearest_name
from hitmesh.runtime.vitals import DEAD_AFTER_S, SILENT_AFTER_S, STEADY_S, STUCK_AFTER_S, VitalLimits

# The errors of pydantic, whose messages do not name a cure.
_OF_PYDANTIC: Final = frozenset(get_args(ErrorType))
_MAX_SHOWN: Final = 64
_KINDS: Final = {"integer": "an integer", "number": "a number"}


class LogLevel(StrEnum):
    """The least severe events that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _in_lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class ServiceSettings(BaseSettings):
    """Settings common to all services. Subclasses set `env_prefix`, for example HITMESH_COLLECTOR_.

    The type of each number names the unit, as in `Annotated[int, Unit("rows")]`.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    tls_dir: Annotated[str, Allowed("/absolute/directory or empty")] = Field(
        default="",
        pattern="^(/.+)?$",
        description="Directory with tls.crt, tls.key and ca.crt, which identify this service to its peers (mTLS), and "
        "are read again when they change; empty = plaintext",
    )
    tls_peers: Annotated[str, Allowed("URIs or DNS names, separated by commas")] = Field(
        default=identity("envoy"),
        description="With tls_dir: the names of which a caller's certificate must have at least one",
    )
    plaintext_ok: str = Field(
        default="",
        description="Reason why plaintext is safe beyond loopback (listen without tls_dir, store without tls=); empty "
        "= the service refuses to start",
    )
    store: Annotated[str, Allowed("memory:, embedded:/absolute/directory or servers:?kafka=…")] = Field(
        description="URL of the stores"
    )
    listen: Annotated[str, Allowed("HOST:PORT")] = Field(
        default="127.0.0.1:0", description="Address of the gRPC listener; port 0 = any free port"
    )
    log_level: Annotated[LogLevel, BeforeValidator(_in_lower_case)] = Field(
        default=LogLevel.INFO, description="The least severe events that are logged"
    )
    metrics_listen: Annotated[str, Allowed("HOST:PORT or empty")] = Field(
        default="", pattern=r"^(\S+:[1-9]\d{0,4})?$", description="Address that serves GET /metrics; empty = disabled"
    )
    otlp_endpoint: Annotated[str, Allowed("http://HOST:PORT, https://HOST:PORT or empty")] = Field(
        default="",
        pattern=r"^(https?://[^\s/@]+:[1-9]\d{0,4})?$",
        description="OpenTelemetry Collector that gets metrics and traces with OTLP over gRPC; empty = disabled",
    )
    otlp_metrics_s: Annotated[float, Unit("s")] = Field(
        default=30.0, gt=0, le=3_600, description="Seconds between two exports of the metrics with OTLP"
    )
    trace_ratio: Annotated[float, Unit("share")] = Field(
        default=0.001,
        ge=0,
        le=1,
        description="Share of traces that are recorded if the caller sent no trace context; otherwise the caller "
        "decides. Needs OTLP_ENDPOINT",
    )
    traces_s: Annotated[float, Unit("traces/s")] = Field(
        default=50.0, ge=1, le=10_000, description="Maximum traces per second that the process records"
    )
    unknown_keys_s: Annotated[int, Unit("look-ups/s")] = Field(
        default=UNKNOWN_KEYS_S,
        ge=1,
        description="Maximum look-ups of unknown keys per second; senders above the limit must retry",
    )
    stuck_after_s: Annotated[float, Unit("s")] = Field(
        default=STUCK_AFTER_S,
        gt=0,
        description="Seconds without a turn of a loop after which the process is not ready",
    )
    silent_after_s: Annotated[float, Unit("s")] = Field(
        default=SILENT_AFTER_S,
        gt=0,
        description="Seconds without an answer of a store after which the process is not ready",
    )
    steady_s: Annotated[float, Unit("s")] = Field(
        default=STEADY_S,
        ge=0,
        description="Seconds without trouble after which a process is ready again",
    )
    dead_after_s: Annotated[float, Unit("s")] = Field(
        default=DEAD_AFTER_S,
        gt=0,
        description="Seconds without a turn of a loop after which the process is not live; must exceed the longest "
        "wait for a store",
    )
    node: str = Field(default="dev-0", description="Name of this instance in records and logs")

    @field_validator("tls_peers")
    @classmethod
    def _names_a_peer(cls, value: str) -> str:
        if not peers_in(value):
            raise PydanticCustomError("tls_peers", "no caller could call this service: name at least one peer")
        return value

    @field_validator("store")
    @classmethod
    def _reaches_servers_safely(cls, value: str, info: ValidationInfo) -> str:
        server = plaintext_server(value)
        if server and not info.data.get("plaintext_ok", "").strip():
            raise PydanticCustomError(
                "plaintext",
                f"{server} is beyond loopback, but the URL has no certificates: add tls=DIR, or give in "
                f"{prefix_of(cls)}PLAINTEXT_OK the reason why plaintext is safe there",
            )
        return value

    @field_validator("listen")
    @classmethod
    def _is_private_or_encrypted(cls, value: str, info: ValidationInfo) -> str:
        given = info.data
        if not is_loopback(value) and not given.get("tls_dir") and not given.get("plaintext_ok", "").strip():
            prefix = prefix_of(cls)
            raise PydanticCustomError(
                "plaintext",
                f"the address is beyond loopback, but the service has no certificates: set {prefix}TLS_DIR, or listen "
                f"on 127.0.0.1, or give in {prefix}PLAINTEXT_OK the reason why plaintext is safe there",
            )
        return value

    @property
    def vital_limits(self) -> VitalLimits:
        """The limits of the process's health."""
        return VitalLimits(self.stuck_after_s, self.silent_after_s, self.steady_s, self.dead_after_s)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the values of the constructor as the only source, so that `load` decides what is read."""
        return (init_settings,)


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Problem:
    """A variable that the settings refuse.

    Attributes:
        variable: name of the environment variable.
        value: the wrong value, shortened, without secrets; None if the variable is missing or unknown.
        rule: the rule that is violated.
        cure: what to do; empty if `rule` includes the cure.
        message: the whole message.
    """

    variable: str
    value: str | None
    rule: str
    cure: str
    message: str


def prefix_of(model: type[ServiceSettings]) -> str:
    """Return the prefix of the service's environment variables, such as HITMESH_COLLECTOR_."""
    return str(model.model_config.get("env_prefix", ""))


def load(model: type[SettingsT], environment: Mapping[str, str]) -> SettingsT:
    """Return the settings of a service.

    Raises:
        RefusedError: a value is invalid, a required setting is missing, or a variable with the service's prefix is not
            a setting (INVALID_CONFIG).
    """
    settings, problems = checked(model, environment)
    if settings is None or problems:
        first = problems[0]
        raise RefusedError(first.message, reason=LocalReason.INVALID_CONFIG, field=first.variable)
    return settings


def checked(model: type[SettingsT], environment: Mapping[str, str]) -> tuple[SettingsT | None, tuple[Problem, ...]]:
    """Return the settings and all problems, unknown variables first; without problems, there are settings."""
    variables = {variable.name: variable for variable in variables_of(model, prefix_of(model))}
    unknown = tuple(
        _unknown(name, variables)
        for name in sorted(environment)
        if name.startswith(prefix_of(model)) and name not in variables
    )
    values = {
        field: environment[name]
        for field, name in zip(model.model_fields, variables, strict=True)
        if name in environment
    }
    try:
        return model.model_validate(values), unknown
    except ValidationError as error:
        return None, (*unknown, *(_problem(details, prefix_of(model), variables) for details in error.errors()))


def _unknown(name: str, known: Mapping[str, Variable]) -> Problem:
    nearest = nearest_name(name, known)
    cure = f"did you mean {nearest}?" if nearest else f"use one of {', '.join(sorted(known))}"
    return Problem(name, None, "not a setting", cure, f"environment variable {name} is not a setting; {cure}")


def _problem(details: ErrorDetails, prefix: str, variables: Mapping[str, Variable]) -> Problem:
    name = f"{prefix}{'.'.join(str(part) for part in details['loc'])}".upper()
    variable = variables.get(name)
    # pydantic's `input` contains all settings if a setting is missing, or if the error concerns several settings.
    if variable is None or details["type"] == "missing":
        value, cure = None, f"set {name} to {variable.bounds or variable.meaning}" if variable else ""
    else:
        value, cure = masked(variable, str(details["input"]))[:_MAX_SHOWN], _cure(variable)
    cure = cure if details["type"] in _OF_PYDANTIC else ""
    shown = "" if value is None else f" {value!r}"
    text = "; ".join(filter(None, (details["msg"], cure)))
    return Problem(name, value, details["msg"], cure, f"setting {name}{shown}: {text}")


def _cure(variable: Variable) -> str:
    allowed = ", ".join(filter(None, (_KINDS.get(variable.kind, ""), variable.bounds))) or variable.kind
    unit = f" ({variable.unit})" if variable.unit else ""
    back = "" if variable.default is None else f", or unset the variable for the default {variable.default or 'empty'}"
    return f"write {allowed}{unit}{back}"
