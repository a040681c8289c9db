"""Settings of the reporter, read from HITMESH_REPORTER_*."""

from __future__ import annotations

import os
from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hitmesh.model.quotas import MAX_QUOTA
from hitmesh.runtime.config_report import print_report
from hitmesh.runtime.token_settings import TokenSettings
from hitmesh.runtime.variables import Unit
from reporter.answer.lanes import QUESTIONS_AT_ONCE
from reporter.answer.report_budget import REPORT_UNITS_MIN, SHARE_S

WORKERS: Final = QUESTIONS_AT_ONCE
# Maximum number of calls that run or wait; further calls are refused.
MAX_CALLS: Final = 64
# Half of the places, so that a merchant leaves places to other merchants.
MAX_CALLS_PER_MERCHANT: Final = 32
MAX_UNKNOWN_CALLS: Final = 8
# Seconds after which a question is abandoned. Envoy ends the call after 60 s.
QUESTION_S: Final = 30.0


class ReporterSettings(TokenSettings):
    """Reporter settings."""

    model_config = SettingsConfigDict(env_prefix="HITMESH_REPORTER_", extra="forbid", frozen=True)

    open_reads: bool = Field(default=False, description="Allow reports without a key")
    workers: Annotated[int, Unit("questions")] = Field(
        default=WORKERS, ge=1, le=256, description="Maximum number of questions answered at once"
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
    question_s: Annotated[float, Unit("s")] = Field(
        default=QUESTION_S,
        gt=0,
        le=55,
        description="Time limit for a question in seconds; Envoy ends the call after 60 s",
    )
    report_units_min: Annotated[int, Unit("units/min")] = Field(
        default=REPORT_UNITS_MIN,
        ge=1,
        le=MAX_QUOTA,
        description="Default quota of a merchant: cost of reports in units per minute over all reporters; a report "
        "costs 2,000 units, 1 per value and 1 per row that is read",
    )
    quota_share_s: Annotated[float, Unit("s")] = Field(
        default=SHARE_S,
        gt=0,
        le=10,
        description="Seconds between two reports by which reporters share quotas; reporters that do not report for "
        "five times as long do not count",
    )


if __name__ == "__main__":
    print_report(ReporterSettings, os.environ)
