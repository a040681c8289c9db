"""Changes that a sender beyond its quota must notice: the quotas before, the change, and the next refusal's reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hitmesh.model.quotas import NO_QUOTA, PendingQuota, Quota
from hitmesh.model.sites import IngestKey, Role, Site
from hitmesh.ports import SiteDirectory
from tests.support.collectors import MERCHANT, NOW_MS, SITE


def present_key(directory: SiteDirectory) -> IngestKey:
    key = directory.key_with_id(MERCHANT, "k-1")
    assert key is not None
    return key


def present_site(directory: SiteDirectory) -> Site:
    site = directory.site(SITE)
    assert site is not None
    return site


KEY_NAME = "merchants/demo/ingestKeys/k-1"
CHANGES: dict[str, tuple[Quota, Quota, Callable[[SiteDirectory], object], str]] = {
    "a raised quota of the site": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.change_quota(SITE, Quota(hits_s=10**6)),
        "",
    ),
    "a raised quota of the key": (
        NO_QUOTA,
        Quota(hits_s=5),
        lambda directory: directory.change_quota(KEY_NAME, Quota(hits_s=10**6)),
        "",
    ),
    "a removed quota": (Quota(hits_s=5), NO_QUOTA, lambda directory: directory.change_quota(SITE, NO_QUOTA), ""),
    "a quota in bytes": (
        Quota(bytes_s=500),
        NO_QUOTA,
        lambda directory: directory.change_quota(SITE, Quota(bytes_s=10**9)),
        "",
    ),
    "a pending change that takes effect": (
        Quota(hits_s=5, pending=PendingQuota(2_000, Quota(hits_s=10**6))),
        NO_QUOTA,
        lambda directory: None,
        "",
    ),
    "a revoked key": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.revoke_key(MERCHANT, "k-1", NOW_MS),
        "KEY_REVOKED",
    ),
    "a key that expires": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.change_key(
            replace(present_key(directory), expires_at=NOW_MS, version=present_key(directory).version + 1)
        ),
        "KEY_EXPIRED",
    ),
    "a deleted site": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.change_site(
            present_site(directory), replace(present_site(directory), deleted_at=NOW_MS)
        ),
        "UNKNOWN_SITE",
    ),
    "a deleted key": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.delete_key(present_key(directory)),
        "UNKNOWN_KEY",
    ),
    "a key without the role": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.change_key_roles(MERCHANT, "k-1", frozenset({Role.READ}), NOW_MS),
        "PERMISSION_DENIED",
    ),
    "a quota that is still too small": (
        Quota(hits_s=5),
        NO_QUOTA,
        lambda directory: directory.change_quota(SITE, Quota(hits_s=6)),
        "QUOTA",
    ),
}
