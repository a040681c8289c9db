"""Turns tokens into callers, with the settings of a service.

This module imports the JWT library, so composition roots import this module only if tokens are configured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import jwt

from hitmesh.access.callers import TOKEN_KIND, Caller
from hitmesh.access.key_sources import FetchTimes, FileKeys, UrlKeys
from hitmesh.access.token_keys import MAX_SET_BYTES
from hitmesh.access.tokens import TokenRules, verified
from hitmesh.adapters.jwks import checked_url, fetched
from hitmesh.ports import Clock
from hitmesh.runtime.token_settings import TokenSettings


class KeySource(Protocol):
    """Finds the public keys of an issuer."""

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with this id for this algorithm, or None.

        Raises:
            Unavailable: the keys are not available at the moment.
        """


class IssuerTokens:
    """Reads the tokens of an issuer at the current time. Threads may share an instance.

    Args:
        keys: the public keys.
        rules: the issuer and audiences that are accepted.
        clock: the current time.
    """

    def __init__(self, keys: KeySource, rules: TokenRules, clock: Clock) -> None:
        self._keys = keys
        self._rules = rules
        self._clock = clock

    def caller_with(self, token: str) -> Caller:
        """Return the caller that uses a valid token.

        Raises:
            Unauthenticated: the token is not valid (INVALID_TOKEN, TOKEN_EXPIRED).
            Unavailable: the keys are not available at the moment.
        """
        found = verified(token, self._keys.find, self._rules, self._clock.now() / 1_000)
        return Caller(found.merchant, found.roles, TOKEN_KIND, found.subject)


def open_reader(settings: TokenSettings, clock: Clock) -> IssuerTokens:
    """Return a reader for the configured issuer. Keys from a file are read now, keys from a URL with the first token.

    Raises:
        Unavailable: the file with the keys cannot be read.
        RefusedError: the file has no usable keys, or the URL is not allowed (INVALID_CONFIG).
    """
    return IssuerTokens(_keys(settings), TokenRules(settings.jwt_issuer, settings.audiences), clock)


def _keys(settings: TokenSettings) -> KeySource:
    if "://" not in settings.jwks:
        return FileKeys(Path(settings.jwks))
    checked_url(settings.jwks)
    times = FetchTimes(settings.jwks_refresh_s, settings.jwks_retry_s, settings.jwks_timeout_s, settings.jwks_keep_s)
    return UrlKeys(lambda: fetched(settings.jwks, settings.jwks_timeout_s, MAX_SET_BYTES), times)
