"""Settings of the control service, read from HITMESH_CONTROL_… by its composition root."""

from __future__ import annotations

import os
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from control.backend import MAX_KEYS, MAX_SITES
from hitmesh.runtime.config_report import print_report
from hitmesh.runtime.token_settings import TokenSettings
from hitmesh.runtime.variables import Unit

WORKERS: Final = 8
# Maximum number of calls that run or wait; further calls are refused.
MAX_CALLS: Final = 64


class ControlSettings(TokenSettings):
    """Control settings."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_CONTROL_", extra="forbid", frozen=True)

    open_reads: bool = Field(default=False, description="Allow reads of sites, ledger and drift without a key")
    workers: Annotated[int, Unit("calls")] = Field(
        default=WORKERS, ge=1, le=256, description="Maximum number of concurrent calls"
    )
    max_calls: Annotated[int, Unit("calls")] = Field(
        default=MAX_CALLS, ge=1, le=4_096, description="Maximum number of calls that run or wait; more are refused"
    )
    max_sites: Annotated[int, Unit("sites")] = Field(
        default=MAX_SITES, ge=1, le=100_000, description="Maximum number of sites per merchant"
    )
    max_keys: Annotated[int, Unit("keys")] = Field(
        default=MAX_KEYS, ge=1, le=100_000, description="Maximum number of keys per merchant that are valid"
    )


if __name__ == "__main__":
    print_report(ControlSettings, os.environ)
