"""Names, checks and messages for quotas, and caps on a merchant's sites and keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.admin.key_messages import found_key
from control.rpc.admin.merchants import existing_merchant
from hitmesh.access.checks import found_site
from hitmesh.api.control.v1 import quotas_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import MERCHANT_PATTERN, SITE_PATTERN
from hitmesh.model.quotas import MAX_QUOTA, CollectorReport, Quota, QuotaUse
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey

SUFFIX: Final = "/quota"
FIELDS: Final = {
    "hits_per_second": "hits_s",
    "bytes_per_second": "bytes_s",
    "report_units_per_minute": "report_units_min",
}
"""The limits in the contract, with their names in hitmesh.model.quotas.Quota."""
_KEY: Final = re.compile(r"(merchants/[a-z0-9][a-z0-9-]{0,63})/ingestKeys/[A-Za-z0-9_-]{1,64}")


def owner_in(name: str, field: str) -> str:
    """Return the merchant's, site's or key's full name from a quota's name.

    Raises:
        RefusedError: the text is not a quota's name.
    """
    owner = name.removesuffix(SUFFIX)
    if not name.endswith(SUFFIX) or not any(each.fullmatch(owner) for each in (MERCHANT_PATTERN, SITE_PATTERN, _KEY)):
        raise RefusedError(
            f"name {name[:160]!r} is not the name of a quota: write merchants/{{merchant}}/quota, "
            "merchants/{merchant}/sites/{site}/quota or merchants/{merchant}/ingestKeys/{id}/quota",
            field=field,
            value=name,
        )
    return owner


def is_merchant(owner: str) -> bool:
    """Return whether a quota's owner is a merchant."""
    return MERCHANT_PATTERN.fullmatch(owner) is not None


def require_existing(backend: Backend, owner: str, field: str) -> None:
    """Raise unless the merchant, site or key exists.

    Raises:
        NotFound: the merchant, site or key does not exist.
    """
    if SITE_PATTERN.fullmatch(owner):
        found_site(backend.directory, owner, field)
    elif is_merchant(owner):
        existing_merchant(backend, owner, field)
    else:
        found_key(backend, owner, field)


def quota_message(owner: str, quota: Quota) -> pb.Quota:
    """Return a quota as a message, with its etag and its pending change."""
    message = limits_message(owner, quota)
    message.etag = etag_of(quota)
    if quota.pending is not None:
        _set_limits(message.pending_change, quota.pending.quota)
        message.pending_change.effective_time.FromMilliseconds(quota.pending.effective_at)
    return message


def limits_message(owner: str, quota: Quota) -> pb.Quota:
    """Return a quota's limits as a message."""
    message = pb.Quota(name=f"{owner}{SUFFIX}")
    _set_limits(message, quota)
    return message


def etag_of(quota: Quota) -> str:
    """Return the etag of a version of a quota."""
    return f"q{quota.version}"


def _set_limits(message: pb.Quota | pb.QuotaChange, quota: Quota) -> None:
    for field, attribute in FIELDS.items():
        limit: int | None = getattr(quota, attribute)
        if limit is not None:
            setattr(message, field, limit)


def changed_quota(stored: Quota, wanted: pb.Quota, mask: Iterable[str]) -> Quota:
    """Return the stored quota with the wanted limits.

    Raises:
        RefusedError: the mask names another field, or a limit is out of range or is not a limit of this resource.
    """
    paths = list(mask) or [field for field in FIELDS if wanted.HasField(field)]  # type: ignore[arg-type]  # a field name
    applicable = list(FIELDS)[2:] if is_merchant(wanted.name.removesuffix(SUFFIX)) else list(FIELDS)[:2]
    quota = stored
    for path in paths:
        if path not in applicable:
            raise RefusedError(
                f"field {path[:64]!r} is not a limit of this resource: name only {', '.join(applicable)}",
                field="update_mask",
                value=path,
                known=", ".join(applicable),
            )
        value = getattr(wanted, path) if wanted.HasField(path) else None  # type: ignore[arg-type]  # a field name
        if value is not None and not 1 <= value <= MAX_QUOTA:
            raise RefusedError(
                f"{path} {value} is not 1 to {MAX_QUOTA:,}: send a number in this range; for the default, name {path} "
                "in update_mask and leave the field out of `quota`",
                field=f"quota.{path}",
                value=value,
                limit=MAX_QUOTA,
            )
        limits: dict[str, int | None] = {FIELDS[path]: value}
        quota = replace(quota, **limits)  # type: ignore[arg-type]  # the keys are limits
    return quota


def use_of(owner: str, reports: Iterable[CollectorReport]) -> pb.QuotaUsage:
    """Return a site's or key's use, summed over all live collectors' reports."""
    every = list(reports)
    uses: list[QuotaUse] = [use for report in every for use in report.uses if use.resource == owner]
    return pb.QuotaUsage(
        hits_per_second=sum(use.hits.per_s for use in uses),
        bytes_per_second=sum(use.bytes.per_s for use in uses),
        refused_hits_per_second=sum(use.refused_hits_s for use in uses),
        collectors=len(every),
    )


def valid_keys(keys: Iterable[IngestKey], now: int) -> int:
    """Return the number of keys that are neither revoked nor expired at a time (UTC ms)."""
    return sum(not key.is_ended(now) for key in keys)


def refuse_another_site(backend: Backend, merchant: str, name: str) -> None:
    """Raise if the merchant has as many sites as allowed, unless the site exists already.

    Raises:
        RefusedError: TOO_MANY_RESOURCES.
    """
    limit = backend.max_sites
    sites = backend.directory.sites(merchant, "", limit, with_deleted=True)
    if len(sites) >= limit and backend.directory.site_or_deleted(name) is None:
        raise RefusedError(
            f"{merchant} has {limit:,} sites, counting deleted sites, which is the limit: use an existing site, or ask "
            "the operator to raise HITMESH_CONTROL_MAX_SITES",
            field="site_id",
            reason=ErrorReason.TOO_MANY_RESOURCES,
            merchant=merchant,
            limit=limit,
        )


def refuse_another_key(backend: Backend, merchant: str) -> None:
    """Raise if the merchant has as many valid keys as allowed.

    Raises:
        RefusedError: TOO_MANY_RESOURCES.
    """
    limit = backend.max_keys
    if valid_keys(backend.directory.keys(merchant), backend.clock.now()) >= limit:
        raise RefusedError(
            f"{merchant} has {limit:,} keys that are valid, which is the limit: revoke unused keys, or ask the "
            "operator to raise HITMESH_CONTROL_MAX_KEYS",
            field="key",
            reason=ErrorReason.TOO_MANY_RESOURCES,
            merchant=merchant,
            limit=limit,
        )
