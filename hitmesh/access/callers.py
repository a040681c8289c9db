"""Identifies callers, and checks the roles of their keys.

All checks that isolate merchants from each other, for reads and for the admin service, are in this module.

A nonexistent site and another merchant's site cause the same NOT_FOUND with the same text.
"""

from __future__ import annotations

from collections.abc import Iterable

from hitmesh.access.roles import Role, has_role
from hitmesh.model.errors import NotFound, PermissionDenied, RefusedError, Unauthenticated
from hitmesh.model.names import SITE_PATTERN, merchant_of
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey, Site
from hitmesh.ports import SiteDirectory

_SCHEME = "bearer "


def caller_of(directory: SiteDirectory, metadata: Iterable[tuple[str, str | bytes]]) -> IngestKey | None:
    """Return the bearer key in the metadata `authorization`, or None if the call has no such metadata.

    Raises:
        Unauthenticated: the key is unknown (UNKNOWN_KEY) or revoked (KEY_REVOKED).
    """
    header = next((value for name, value in metadata if name == "authorization"), None)
    if header is None:
        return None
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header
    key = directory.key(text[len(_SCHEME) :].strip()) if text.lower().startswith(_SCHEME) else None
    if key is None:
        raise Unauthenticated(
            "the authorization header has no known key: send a server key, or an operator's key where the call needs "
            "such a key, as authorization: Bearer <key>",
            field="authorization",
        )
    if key.revoked_at is not None:
        raise Unauthenticated(
            f"key {key.key_id} was revoked: use another key, or create a key with CreateIngestKey",
            field="authorization",
            reason=ErrorReason.KEY_REVOKED,
            key_id=key.key_id,
        )
    return key


def may_read(caller: IngestKey | None, open_reads: bool, merchant: str, site: str | None) -> bool:
    """Return whether the caller may read a merchant's site, or all the merchant's sites if `site` is None.

    Raises:
        Unauthenticated: `open_reads` is false, and the caller sent no key.
    """
    if open_reads:
        return True
    if caller is None:
        raise _no_key()
    return has_role(caller, Role.READ) and caller.merchant == merchant and caller.site in (None, site)


def require_operator(caller: IngestKey | None, open_reads: bool, why: str) -> None:
    """Raise unless the caller is an operator, or `open_reads` is true.

    Args:
        caller: the caller's key.
        open_reads: true if every caller may call: the mesh has open reads, and the call changes nothing.
        why: the reason why merchants may not call, as the beginning of the error message.

    Raises:
        Unauthenticated: `open_reads` is false, and the caller sent no key.
        PermissionDenied: `open_reads` is false, and the key is not an operator's key.
    """
    if open_reads:
        return
    if caller is None:
        raise _no_key("an operator's key")
    if not has_role(caller, Role.OPERATE):
        raise PermissionDenied(
            f"{why}, so a {caller.kind.value} key is refused: use an operator's key (on a mesh of hitmesh dev: the "
            "file keys/dev-operator in its home)",
            field="authorization",
            key_kind=caller.kind.value,
        )


def require_owner(caller: IngestKey | None, merchant: str) -> IngestKey:
    """Return the caller's key if the key may change the merchant's sites and keys.

    Raises:
        Unauthenticated: the caller sent no key.
        PermissionDenied: the key is not a server key for all sites of this merchant.
    """
    if caller is None:
        raise _no_key()
    if caller.merchant != merchant:
        raise PermissionDenied(
            f"the key does not belong to {merchant}: use a server key of that merchant",
            field="authorization",
            merchant=merchant,
        )
    if not has_role(caller, Role.ADMINISTER):
        raise PermissionDenied(
            f"a {caller.kind.value} key cannot change sites and keys: use a server key",
            field="authorization",
            key_kind=caller.kind.value,
        )
    if caller.site is not None:
        raise PermissionDenied(
            "the key is for one site only: use a server key that covers all sites of the merchant",
            field="authorization",
        )
    return caller


def require_owner_or_operator(caller: IngestKey | None, merchant: str) -> None:
    """Raise unless the caller is an operator, or may change the merchant's sites and keys.

    Raises:
        Unauthenticated: the caller sent no key.
        PermissionDenied: the key is neither an operator's key nor a server key for all sites of this merchant.
    """
    if caller is None or not has_role(caller, Role.OPERATE):
        require_owner(caller, merchant)


def checked_site_name(name: str, field: str) -> str:
    """Return the text unchanged if it is a full site name.

    Raises:
        RefusedError: the text is not a full site name.
    """
    if not SITE_PATTERN.fullmatch(name):
        raise RefusedError(
            f"site {name[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}, "
            "where both names have only a-z, 0-9 and '-'",
            field=field,
            value=name,
        )
    return name


def readable_site(directory: SiteDirectory, open_reads: bool, caller: IngestKey | None, name: str) -> Site:
    """Return the site with this name.

    Raises:
        NotFound: no such site exists, or the caller may not read the site.
        RefusedError: the name is not a full site name, merchants/{merchant}/sites/{site}.
    """
    checked_site_name(name, "site")
    site = directory.site(name) if may_read(caller, open_reads, merchant_of(name), name) else None
    if site is None:
        raise site_not_found(name, "site")
    return site


def site_not_found(name: str, field: str) -> NotFound:
    """Return the error for a site that does not exist or that the caller may not read."""
    return NotFound(
        f"site {name[:160]!r} does not exist or is not yours: check the name, or use a server key of the site's "
        "merchant",
        field=field,
        value=name,
    )


def _no_key(rule: str = "a server key of the merchant") -> Unauthenticated:
    return Unauthenticated(f"no key: send {rule} as authorization: Bearer <key>", field="authorization")
