"""Checks whether a caller may call an RPC, according to the table of rights (hitmesh.access.rights).

All checks that isolate merchants from each other are in this module. For a caller, a nonexistent site and another
merchant's site cause the same NOT_FOUND with the same text. The check reads no store, so both take the same time.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from hitmesh.access.callers import Caller, credential_of
from hitmesh.access.rights import Rule, rule_of
from hitmesh.model.errors import NotFound, PermissionDenied, RefusedError, Unauthenticated
from hitmesh.model.names import MERCHANT_PATTERN, SITE_PATTERN, merchant_of
from hitmesh.model.sites import Role, Site
from hitmesh.ports import SiteDirectory

_KEYS = "/ingestKeys/"


def authorise(caller: Caller | None, request: Message, open_reads: bool) -> None:
    """Raise unless the caller may call the RPC with this request.

    If the request has no valid name in the rule's fields, the caller needs only the role, and the RPC itself must
    refuse the name.

    Args:
        caller: the caller; None without a key.
        request: the request, whose type determines the RPC.
        open_reads: whether every caller may read.

    Raises:
        Unauthenticated: the RPC needs a key or token, and the caller sent none.
        NotFound: the named resource does not belong to the caller's merchant, or to the key's only site.
        PermissionDenied: the caller lacks the role.
    """
    rule = rule_of(request.DESCRIPTOR.full_name)
    if rule.role is None or (rule.is_open_read and open_reads):
        return
    if rule.role is Role.OPERATE:
        require_operator(caller, rule.why)
    else:
        named = [name for field in rule.fields if (name := _text_in(request, field))]
        for name in named or [""]:
            _require_merchant(caller, rule, rule.role, name)


def require_operator(caller: Caller | None, why: str) -> None:
    """Raise unless the caller is an operator.

    Args:
        caller: the caller; None without a key.
        why: the reason why merchants may not call, as the beginning of the error message.

    Raises:
        Unauthenticated: the caller sent no key.
        PermissionDenied: the key is not an operator's key.
    """
    if caller is None:
        raise _no_key("an operator's key")
    if Role.OPERATE not in caller.roles:
        raise PermissionDenied(
            f"{why}, so a {credential_of(caller.kind)} is refused: use an operator's key (on a mesh of hitmesh dev: "
            "the file keys/dev-operator in its home)",
            field="authorization",
            key_kind=caller.kind,
        )


def owns(caller: Caller | None, site: str) -> bool:
    """Return whether a site belongs to the caller; every site belongs to an operator."""
    if caller is None:
        return False
    is_own = bool(site) and merchant_of(site) == caller.merchant and caller.site in (None, site)
    return is_own or Role.OPERATE in caller.roles


def _require_merchant(caller: Caller | None, rule: Rule, role: Role, name: str) -> None:
    if caller is None:
        raise _no_key("a server key of the merchant")
    if rule.operators_too and Role.OPERATE in caller.roles:
        return
    if rule.operators_too and rule.why and not name:
        require_operator(caller, rule.why)
    merchant, site = _prefix(name, 2), _prefix(name, 4)
    has_merchant = MERCHANT_PATTERN.fullmatch(merchant) is not None
    if has_merchant and merchant != caller.merchant:
        raise _not_found(name, rule.fields[0])
    if role not in caller.roles:
        raise PermissionDenied(
            f"the {credential_of(caller.kind)} has {_listed(caller.roles)}, and this call needs the role {role}: use a "
            f"key or token with the role {role}",
            field="authorization",
            key_kind=caller.kind,
            role=role,
            roles=", ".join(sorted(caller.roles)),
        )
    if caller.site is None or rule.is_filtered or not has_merchant:
        return
    if role is Role.ADMINISTER:
        raise PermissionDenied(
            "the key is for one site only: use a server key that covers all sites of the merchant",
            field="authorization",
        )
    if site != caller.site:
        raise _not_found(name, rule.fields[0])


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


def found_site(directory: SiteDirectory, name: str, field: str) -> Site:
    """Return the site with this name for a caller who is authorised for its merchant.

    Raises:
        NotFound: no such site exists.
        RefusedError: the name is not a full site name, merchants/{merchant}/sites/{site}.
    """
    site = directory.site(checked_site_name(name, field))
    if site is None:
        raise site_not_found(name, field)
    return site


def site_not_found(name: str, field: str) -> NotFound:
    """Return the error for a site that does not exist or that does not belong to the caller."""
    return NotFound(
        f"site {name[:160]!r} does not exist or is not yours: check the name; if the key belongs to another "
        "merchant, use a server key of the site's merchant",
        field=field,
        value=name,
    )


def merchant_not_found(name: str, field: str) -> NotFound:
    """Return the error for a merchant that does not exist or that is not the caller's."""
    return NotFound(
        f"{name[:80]!r} does not exist or is not yours: check the name; if the key belongs to another merchant, use a "
        "server key of this merchant; an operator creates merchants with `hitmesh merchants create` (CreateMerchant)",
        field=field,
        value=name,
    )


def _not_found(name: str, field: str) -> NotFound:
    """Return the error that the RPC would raise for a resource that does not exist."""
    if _KEYS in name:
        merchant, _, rest = name.partition(_KEYS)
        key_id, _, _ = rest.partition("/")
        return NotFound(f"{merchant} has no key {key_id}", field=field, merchant=merchant, key_id=key_id)
    site = _prefix(name, 4)
    if "/sites/" in site:
        return site_not_found(site, field)
    return merchant_not_found(name, field)


def _text_in(request: Message, field: str) -> str:
    """Return the text in a field with a path such as `site.name`; an empty text without a field."""
    found: Any = request
    for part in filter(None, field.split(".")):
        found = getattr(found, part)
    return found if isinstance(found, str) else ""


def _prefix(name: str, parts: int) -> str:
    return "/".join(name.split("/")[:parts])


def _listed(roles: frozenset[Role]) -> str:
    if not roles:
        return "no role"
    return f"only the role{'s' if len(roles) > 1 else ''} {', '.join(sorted(roles))}"


def _no_key(rule: str) -> Unauthenticated:
    return Unauthenticated(
        f"no key: send {rule}, or a token if this mesh accepts tokens, as authorization: Bearer <key or token>",
        field="authorization",
    )
