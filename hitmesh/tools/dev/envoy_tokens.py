"""Renders the parts of Envoy's configuration that check tokens (JWT) before a request reaches a service.

Each request needs a valid token, with two exceptions: the RPCs that every caller may call or that check the key in the
request's body, and requests with a key. A key has no dot, and a token has two, so Envoy can distinguish the two. The
services check keys, and check tokens again.

Envoy reads keys from a URL itself. Envoy reads a file only at its start, so keys from a file are written into a
configuration file that Envoy watches.
"""

from __future__ import annotations

import json
import ssl
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hitmesh.adapters.jwks import FileVersion, read_file, version_of
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.token_settings import JWKS_REFRESH_S, JWKS_RETRY_S, JWKS_TIMEOUT_S

NO_TOKENS: Final = "# This mesh accepts no tokens."
FILTER: Final = "tokens"
CLUSTER: Final = "token-keys"
# hitmesh.access.tokens.LEEWAY_S, which cannot be imported without the JWT library; a test compares the numbers.
LEEWAY_S: Final = 60
_TYPES: Final = "type.googleapis.com/envoy"
_JWT_TYPE: Final = f"{_TYPES}.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
# A header with two values, which Envoy joins with a comma, is not a key.
_KEY: Final = "(?i)bearer +[A-Za-z0-9_~+/=-]+"
_PROVIDER: Final = "issuer"
# Envoy compares the prefix of the header with regard to case.
_SCHEMES: Final = ("Bearer", "bearer", "BEARER")

_RENEW: Final = "request a new token from the issuer, and send the token as authorization: Bearer <token>"
_INVALID: Final = ErrorReason.INVALID_TOKEN
TOKEN_REPLIES: Final = {
    "Jwt_is_missing": (ErrorReason.UNKNOWN_KEY, "no key and no token: send authorization: Bearer <key or token>"),
    "Jwt_is_expired": (ErrorReason.TOKEN_EXPIRED, f"the token has expired: {_RENEW}"),
    "Jwt_not_yet_valid": (
        _INVALID,
        "the token is not valid yet, because its claim nbf is in the future: send the token later, or correct the "
        "issuer's clock",
    ),
    "Jwt_issuer_is_not_configured": (
        _INVALID,
        f"the claim iss does not name the issuer whose tokens this mesh accepts: {_RENEW}",
    ),
    "Audiences_in_Jwt": (
        _INVALID,
        f"the claim aud is missing or does not name an audience that this mesh accepts: {_RENEW}",
    ),
    "Jwks_doesn": (
        _INVALID,
        f"the issuer has no key with the kid and alg in the token's header (only RS256 and ES256): {_RENEW}",
    ),
    "Jwks_remote_fetch": (
        ErrorReason.UNAVAILABLE,
        "the mesh cannot fetch the issuer's keys at the moment: send the call again later",
    ),
    "Jwt_is_not_in_the_form": (
        _INVALID,
        f"the credential is no signed token, which has three parts and two dots: {_RENEW}",
    ),
    "Jwt_header": (
        _INVALID,
        f"the token's header must be base64url JSON with alg RS256 or ES256 and a kid: {_RENEW}",
    ),
    "Jwt_payload": (
        _INVALID,
        f"the token's claims must be base64url JSON, with each claim once and of the right type: {_RENEW}",
    ),
    "Jwt_verification_fails": (
        _INVALID,
        f"the token's signature does not fit the issuer's key, or the claim exp is missing: {_RENEW}",
    ),
    "": (_INVALID, f"the token is malformed, not for this mesh or not signed by its issuer: {_RENEW}"),
}
"""The reason and the message for each request that the token filter refuses, keyed by the start of the detail that
Envoy gives. The first detail that fits applies."""


# Places of the authorities' certificates on Debian, Red Hat, and Alpine or macOS.
_AUTHORITIES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def system_authorities() -> Path:
    """Return the file with the certificates of the authorities that this machine trusts (or SSL_CERT_FILE)."""
    files = [Path(name) for name in (ssl.get_default_verify_paths().cafile, *_AUTHORITIES) if name]
    return next((file for file in files if file.is_file()), files[0])


@dataclass(frozen=True, slots=True)
class TokenDoor:
    """The tokens that Envoy lets pass.

    Attributes:
        jwks: file or URL with the issuer's public keys.
        issuer: the value that the claim `iss` must have.
        audiences: the claim `aud` must have at least one of these values.
        watched: file for the filter's configuration; needed for keys from a file.
        authorities: file with the certificates that may sign the certificate of an https server with keys.
        refresh_s: age in seconds at which keys from a URL are fetched again.
        retry_s: seconds until the next fetch after a fetch that failed.
    """

    jwks: str
    issuer: str
    audiences: tuple[str, ...]
    watched: Path
    authorities: Path = field(default_factory=system_authorities)
    refresh_s: float = JWKS_REFRESH_S
    retry_s: float = JWKS_RETRY_S

    @property
    def is_url(self) -> bool:
        """Whether Envoy fetches the keys from a URL."""
        return "://" in self.jwks

    def settings(self) -> Mapping[str, str]:
        """Return the settings with which a service accepts the same tokens, without the service's prefix."""
        return {
            "JWKS": self.jwks,
            "JWT_ISSUER": self.issuer,
            "JWT_AUDIENCES": ",".join(self.audiences),
            "JWKS_REFRESH_S": f"{self.refresh_s:g}",
            "JWKS_RETRY_S": f"{self.retry_s:g}",
        }


class WatchedKeys:
    """Writes the keys of a file into the configuration that Envoy watches.

    Args:
        door: the tokens that Envoy lets pass. If their keys come from a URL, nothing is written.
        open_paths: paths of gRPC and REST calls that need no token.
    """

    def __init__(self, door: TokenDoor, open_paths: Sequence[str]) -> None:
        self._door = door
        self._open_paths = open_paths
        self._version: FileVersion | None = None

    def refresh(self) -> bool:
        """Return whether the file has changed and Envoy gets the new keys.

        Raises:
            Unavailable: the file cannot be read. Envoy keeps the keys.
            RefusedError: the file has no usable keys. Envoy keeps the keys. The next call does not raise this error
                again unless the file changes again.
        """
        if self._door.is_url:
            return False
        from hitmesh.access.token_keys import MAX_SET_BYTES, keys_in  # loads the JWT library

        version = version_of(Path(self._door.jwks))
        if version == self._version:
            return False
        self._version = version
        keys = read_file(Path(self._door.jwks), MAX_SET_BYTES)
        keys_in(keys)
        _write(self._door, keys, self._open_paths, version)
        return True


def token_filter(door: TokenDoor, open_paths: Iterable[str]) -> str:
    """Return the HTTP filter as JSON, which is valid YAML, for a list of filters.

    Args:
        door: the tokens that Envoy lets pass.
        open_paths: paths of gRPC and REST calls that need no token.
    """
    if door.is_url:
        return json.dumps({"name": FILTER, "typed_config": _typed(door, _remote(door), open_paths)})
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(door.watched)}}
    return json.dumps({"name": FILTER, "config_discovery": {"config_source": source, "type_urls": [_JWT_TYPE]}})


def _write(door: TokenDoor, keys: bytes, open_paths: Iterable[str], version: FileVersion) -> None:
    """Replace the file that Envoy watches. Envoy notices only a file that was moved into place.

    Args:
        door: the tokens that Envoy lets pass.
        keys: the JWKS, which must be usable; otherwise Envoy refuses all tokens.
        open_paths: paths of gRPC and REST calls that need no token.
        version: version of the file with the keys.
    """
    typed = _typed(door, {"local_jwks": {"inline_string": keys.decode("utf-8")}}, open_paths)
    resource = {"@type": f"{_TYPES}.config.core.v3.TypedExtensionConfig", "name": FILTER, "typed_config": typed}
    temporary = door.watched.with_name(f".{door.watched.name}.new")
    temporary.write_text(
        json.dumps({"version_info": f"{version.inode}-{version.changed_ns}", "resources": [resource]}), encoding="utf-8"
    )
    temporary.replace(door.watched)


def token_cluster(door: TokenDoor) -> str:
    """Return the cluster from which Envoy fetches keys, as JSON for a list of clusters."""
    parts = urllib.parse.urlsplit(door.jwks)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    address = {"address": host, "port_value": parts.port or (443 if is_tls else 80)}
    endpoint = {"endpoint": {"address": {"socket_address": address}}}
    cluster: dict[str, object] = {
        "name": CLUSTER,
        "connect_timeout": "5s",
        "type": "LOGICAL_DNS",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if is_tls:
        san = {"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}
        authorities = {"filename": str(door.authorities)}
        checked = {"trusted_ca": authorities, "match_typed_subject_alt_names": [san]}
        context: dict[str, object] = {"common_tls_context": {"validation_context": checked}}
        if not _is_address(host):
            context["sni"] = host
        typed = {"@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.UpstreamTlsContext", **context}
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": typed}
    return json.dumps(cluster)


def denied(detail: str = "") -> dict[str, object]:
    """Return Envoy's filter condition for requests that the token filter refused.

    Args:
        detail: part of Envoy's response code details, such as `Jwt_is_expired`; empty for all refusals.
    """
    return has_details(f"jwt_authn_access_denied{{{detail}")


def has_details(start: str) -> dict[str, object]:
    """Return Envoy's filter condition for replies whose response code details begin with a text."""
    expression = f"response.code_details.startsWith('{start}')"
    kind = f"{_TYPES}.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    typed = {"@type": kind, "expression": expression}
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": typed}}


def _typed(door: TokenDoor, keys: dict[str, object], open_paths: Iterable[str]) -> dict[str, object]:
    provider: dict[str, object] = {
        "issuer": door.issuer,
        "audiences": list(door.audiences),
        **keys,
        # Without this list, Envoy also accepts tokens from the query parameter `access_token`.
        "from_headers": [{"name": "authorization", "value_prefix": f"{scheme} "} for scheme in _SCHEMES],
        "forward": True,
        "require_expiration": True,
        "clock_skew_seconds": LEEWAY_S,
    }
    return {"@type": _JWT_TYPE, "providers": {_PROVIDER: provider}, "rules": _rules(sorted(set(open_paths)))}


def _rules(open_paths: Sequence[str]) -> list[dict[str, object]]:
    """Return the rules; the first rule whose match fits applies, and a rule without `requires` lets requests pass."""
    key = {"name": "authorization", "string_match": {"safe_regex": {"regex": _KEY}}}
    exact: list[dict[str, object]] = [{"match": {"path": path}} for path in open_paths]
    keys: dict[str, object] = {"match": {"prefix": "/", "headers": [key]}}
    return [*exact, keys, {"match": {"prefix": "/"}, "requires": {"provider_name": _PROVIDER}}]


def _remote(door: TokenDoor) -> dict[str, object]:
    uri = {"uri": door.jwks, "cluster": CLUSTER, "timeout": f"{JWKS_TIMEOUT_S:g}s"}
    return {
        "remote_jwks": {
            "http_uri": uri,
            "cache_duration": f"{door.refresh_s:g}s",
            "async_fetch": {"failed_refetch_duration": f"{door.retry_s:g}s"},
        }
    }


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
