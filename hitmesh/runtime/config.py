"""Settings of the services.

Each service has a pydantic model of its settings. Only composition roots (a service's main module) read the
environment.

If an environment variable has the service's prefix but is not a setting, the settings are refused. Otherwise, a
misspelt setting would silently keep its default. The message suggests the most similar setting.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.reasons import LocalReason


class ServiceSettings(BaseSettings):
    """Settings common to all services. Subclasses set `env_prefix`, for example HITMESH_COLLECTOR_."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    store: str = Field(description="Store URL: memory:, embedded:/absolute/directory or servers:?kafka=…")
    listen: str = Field(default="127.0.0.1:0", description="host:port of the gRPC listener")
    log_level: str = Field(default="info", description="debug, info, warning or error")
    metrics_listen: str = Field(
        default="", pattern=r"^(\S+:[1-9]\d{0,4})?$", description="host:port that serves GET /metrics; empty = disabled"
    )
    unknown_keys_s: int = Field(
        default=UNKNOWN_KEYS_S,
        ge=1,
        description="Maximum look-ups of unknown keys per second; senders above the limit must retry",
    )
    node: str = Field(default="dev-0", description="Name of this instance in records and logs")


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load(model: type[SettingsT], environment: Mapping[str, str]) -> SettingsT:
    """Return the settings of a service.

    Raises:
        RefusedError: a value is invalid, a required setting is missing, or a variable with the service's prefix is not
            a setting (INVALID_CONFIG).
    """
    prefix = str(model.model_config.get("env_prefix", ""))
    known = {f"{prefix}{name}".upper() for name in model.model_fields}
    for name in environment:
        if name.startswith(prefix) and name not in known:
            nearest = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; use one of {', '.join(sorted(known))}"
            raise RefusedError(
                f"environment variable {name} is not a setting{hint}", reason=LocalReason.INVALID_CONFIG, field=name
            )
    values = {
        name: environment[f"{prefix}{name}".upper()]
        for name in model.model_fields
        if f"{prefix}{name}".upper() in environment
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{prefix}{'.'.join(str(part) for part in first['loc'])}".upper()
        # pydantic's `input` contains all settings if a setting is missing, or if the error concerns several settings.
        value = f" {str(first['input'])[:64]!r}" if first["loc"] and first["type"] != "missing" else ""
        raise RefusedError(
            f"setting {name}{value}: {first['msg']}", reason=LocalReason.INVALID_CONFIG, field=name
        ) from error
