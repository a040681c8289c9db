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
# Half of the places, so that a merchant leaves places to other merchants.
MAX_CALLS_PER_MERCHANT: Final = 32
MAX_UNKNOWN_CALLS: Final = 8


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
    max_calls_per_merchant: Annotated[int, Unit("calls")] = Field(
        default=MAX_CALLS_PER_MERCHANT,
        ge=1,
        le=4_096,
        description="Maximum number of calls of a merchant that run or wait; should be at most half of max_calls",
    )
    max_unknown_calls: Annotated[int, Unit("calls")] = Field(
        default=MAX_UNKNOWN_CALLS,
        ge=1,
        le=4_096,
        description="Maximum number of calls that run or wait and have no key or token that this process has accepted "
        "before; with open reads, calls without any key count as a merchant's",
    )
    max_sites: Annotated[int, Unit("sites")] = Field(
        default=MAX_SITES, ge=1, le=100_000, description="Maximum number of sites per merchant"
    )
    max_keys: Annotated[int, Unit("keys")] = Field(
        default=MAX_KEYS, ge=1, le=100_000, description="Maximum number of keys per merchant that are valid"
    )


if __name__ == "__main__":
    print_report(ControlSettings, os.environ)
