"""Settings of the services that accept the tokens (JWT) of people and services (docs/tokens.md)."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from hitmesh.runtime.config import ServiceSettings
from hitmesh.runtime.variables import Allowed, Unit

JWKS_REFRESH_S: Final = 300.0
JWKS_RETRY_S: Final = 30.0
JWKS_TIMEOUT_S: Final = 5.0
JWKS_KEEP_S: Final = 86_400.0
_PLACE: Final = re.compile(r"/.+|https?://[!-~]+")


class TokenSettings(ServiceSettings):
    """Settings of the services that also accept the tokens of an issuer."""

    jwks: Annotated[str, Allowed("/absolute/file, https URL or empty")] = Field(
        default="", description="Public keys of the tokens' issuer (JWKS); empty = no tokens"
    )
    jwt_issuer: str = Field(default="", validate_default=True, description="Value of the claim iss in accepted tokens")
    jwt_audiences: str = Field(
        default="",
        validate_default=True,
        description="Accepted values of the claim aud, separated by commas; a token needs one of the values",
    )
    jwks_refresh_s: Annotated[float, Unit("s")] = Field(
        default=JWKS_REFRESH_S, gt=0, description="Age in seconds at which keys from a URL are fetched again"
    )
    jwks_retry_s: Annotated[float, Unit("s")] = Field(
        default=JWKS_RETRY_S,
        gt=0,
        description="Minimum seconds between two fetches, also if tokens have unknown key ids or the URL is down",
    )
    jwks_timeout_s: Annotated[float, Unit("s")] = Field(
        default=JWKS_TIMEOUT_S, gt=0, le=30, description="Time limit for a fetch in seconds"
    )
    jwks_keep_s: Annotated[float, Unit("s")] = Field(
        default=JWKS_KEEP_S, gt=0, description="Seconds for which keys are used while the URL does not answer"
    )

    @field_validator("jwks")
    @classmethod
    def _is_place(cls, value: str) -> str:
        if value and not _PLACE.fullmatch(value):
            raise PydanticCustomError("jwks", "give an absolute path or an https URL")
        return value

    @field_validator("jwt_issuer", "jwt_audiences")
    @classmethod
    def _belongs_to_keys(cls, value: str, info: ValidationInfo) -> str:
        has_keys = bool(info.data.get("jwks"))
        if has_keys != bool(value.strip(", ")):
            raise PydanticCustomError(
                "jwt", "tokens need all three settings JWKS, JWT_ISSUER and JWT_AUDIENCES: set all three, or none"
            )
        return value

    @property
    def audiences(self) -> frozenset[str]:
        """The names in `jwt_audiences`."""
        return frozenset(name.strip() for name in self.jwt_audiences.split(",") if name.strip())
