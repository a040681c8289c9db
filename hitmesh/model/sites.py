"""Types for sites, keys and site-days, which the interfaces in hitmesh.ports use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple

from hitmesh.model.exclusion import NO_RULES, SiteRules
from hitmesh.model.limits import MAX_VISIT_HITS, VISIT_CAP_MS, VISIT_GAP_MS
from hitmesh.model.quotas import NO_QUOTA, Quota


@dataclass(frozen=True, slots=True)
class VisitPolicy:
    """The limits and switches of the rules that group hits into visits (rules §4)."""

    version: str = "v1"
    gap_ms: int = VISIT_GAP_MS
    cap_ms: int = VISIT_CAP_MS
    max_hits: int = MAX_VISIT_HITS
    campaign_splits: bool = True
    split_at_local_midnight: bool = False


POLICY_AHEAD_MS: Final = 2 * 3_600_000
"""Minimum time between the storage of a policy change and the start of the UTC day on which the change takes effect.

The minimum is necessary because processes may use cached sites for up to an hour while the store is unavailable.
"""
MAX_POLICY_AHEAD_DAYS: Final = 366
"""Maximum number of days from the storage of a policy change until the change takes effect."""
_DAY_MS: Final = 86_400_000
MAX_POLICY_CHANGES: Final = 100
"""Maximum number of policy changes per site."""


class PolicyChange(NamedTuple):
    """A change of the switches in a site's policy, for visits that begin on the UTC day `from_day` or later.

    A change is stored before its day begins, and never edited or removed. Visits that began earlier continue under the
    policy of the day on which they began.
    """

    from_day: int
    campaign_splits: bool
    split_at_local_midnight: bool


def policy_version(*, campaign_splits: bool, split_at_local_midnight: bool) -> str:
    """Return a policy's version, as reports show it: v1, followed by the switches that differ from v1.

    Example:
        >>> policy_version(campaign_splits=False, split_at_local_midnight=False)
        'v1-campaign-keeps'
    """
    return "v1" + "-campaign-keeps" * (not campaign_splits) + "-midnight" * split_at_local_midnight


def changed_policy(policy: VisitPolicy, change: PolicyChange) -> VisitPolicy:
    """Return the policy with the switches from `change` and the limits from `policy`.

    Example:
        >>> changed_policy(VisitPolicy(), PolicyChange(20_000, False, False)).version
        'v1-campaign-keeps'
    """
    _, splits, midnight = change
    version = policy_version(campaign_splits=splits, split_at_local_midnight=midnight)
    return replace(policy, version=version, campaign_splits=splits, split_at_local_midnight=midnight)


def policy_on(policy: VisitPolicy, changes: Iterable[PolicyChange], day: int) -> VisitPolicy:
    """Return the policy for visits that begin on a UTC day.

    Args:
        policy: the policy before all changes.
        changes: the changes, in ascending order of days.
        day: the UTC day.

    Example:
        >>> changes = (PolicyChange(20_000, False, False), PolicyChange(20_003, True, False))
        >>> [policy_on(VisitPolicy(), changes, day).version for day in (19_999, 20_000, 20_002, 20_003)]
        ['v1', 'v1-campaign-keeps', 'v1-campaign-keeps', 'v1']
    """
    reached = [change for change in changes if change.from_day <= day]
    return changed_policy(policy, reached[-1]) if reached else policy


def policies_between(
    policy: VisitPolicy, changes: Iterable[PolicyChange], first: int, last: int
) -> list[tuple[int, VisitPolicy]]:
    """Return the policies for visits that begin in [first, last] (UTC ms), each with the instant from which it applies.

    Example:
        >>> found = policies_between(VisitPolicy(), (PolicyChange(1, False, False),), 1_000, 86_400_000)
        >>> [(instant, policy.version) for instant, policy in found]
        [(0, 'v1'), (86400000, 'v1-campaign-keeps')]
    """
    every, day = tuple(changes), first // _DAY_MS
    later = [change.from_day for change in every if day < change.from_day <= last // _DAY_MS]
    return [(each * _DAY_MS, policy_on(policy, every, each)) for each in (day, *later)]


@dataclass(frozen=True, slots=True)
class Site:
    """A site.

    `secret` is the key of the visitor hashes and never leaves the back end. `spread` is the number of partitions over
    which the site's visitors are spread (hitmesh.model.keys:partition_of). `created_at` is in UTC ms. `rules` contains
    the exclusion rules, and whether truncated IP addresses are stored. `policy` is the policy before all
    `policy_changes`; the changes are in ascending order of days. `quota` is stored separately (SiteDirectory).

    `own_hosts` are hosts in lower case, without port. `allowed_origins` are the origins from which browsers may send
    hits with a browser key; if there are none, every origin is allowed. `revision` counts the changes of the site's
    values since the creation. `updated_at` is the time of the last change, None without changes. `deleted_at` is None
    for a site that exists; the site keeps its data while it is deleted.
    """

    name: str
    time_zone: str
    currency: str
    secret: bytes = field(repr=False)
    created_at: int = 0
    spread: int = 1
    policy: VisitPolicy = VisitPolicy()
    cookieless_counting: bool = False
    consent_by_default: bool = True
    identify_by_user_id: bool = False
    rules: SiteRules = NO_RULES
    policy_changes: tuple[PolicyChange, ...] = ()
    quota: Quota = NO_QUOTA
    display_name: str = ""
    own_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    revision: int = 0
    updated_at: int | None = None
    deleted_at: int | None = None

    @property
    def may_have_user_ids(self) -> bool:
        """Return whether `user_id` may identify visitors in stored hits, because of the present or an earlier value.

        Example:
            >>> Site("merchants/demo/sites/shop", "UTC", "USD", b"").may_have_user_ids
            False
        """
        return self.identify_by_user_id or self.revision > 0

    def policy_on(self, day: int) -> VisitPolicy:
        """Return the policy for visits that begin on a UTC day.

        Example:
            >>> Site("merchants/demo/sites/shop", "UTC", "USD", b"").policy_on(20_000) == VisitPolicy()
            True
        """
        return policy_on(self.policy, self.policy_changes, day)

    def policies(self, first_day: int, end_day: int) -> tuple[VisitPolicy, ...]:
        """Return the policies for visits that begin in [first_day, end_day), in order of time.

        Example:
            >>> len(Site("merchants/demo/sites/shop", "UTC", "USD", b"").policies(20_000, 20_007))
            1
        """
        days = [first_day, *(each.from_day for each in self.policy_changes if first_day < each.from_day < end_day)]
        return tuple(self.policy_on(day) for day in days)


class KeyKind(StrEnum):
    """A key's kind, which limits its roles (hitmesh.access.roles). The values of this enum are stored."""

    BROWSER = "browser"
    SERVER = "server"
    EDGE = "edge"
    OPERATOR = "operator"
    BOOTSTRAP = "bootstrap"


class Role(StrEnum):
    """An action that the holder of a key may perform. The values of this enum are stored.

    SEND: send hits for a site. READ: read reports, sites, ledger and drift of a merchant. ADMINISTER: change the sites,
    keys and exclusion rules of a merchant, and read rejected hits. OPERATE: read data that belongs to no merchant,
    recompute history, and change exclusion rules.
    """

    SEND = "send"
    READ = "read"
    ADMINISTER = "administer"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class IngestKey:
    """An ingest key. Stores keep only the SHA-256 of a key's secret.

    If `site` is None, the key is for every site of `merchant` ("merchants/m"). For the key of an operator, `merchant`
    is hitmesh.model.names.OPERATORS. If `roles` is empty, the key has the default role of its kind
    (hitmesh.access.roles), like the keys of versions before roles were stored. Times are UTC ms. From `expires_at` on,
    the key is refused; None means never. `prefix` has the first characters of the secret; keys of earlier versions have
    none. `rotated_from` is the id of the key that this key replaces. Each change of the key adds 1 to `version`.
    """

    key_id: str
    merchant: str
    kind: KeyKind
    site: str | None = None
    unbounded_history: bool = False
    created_at: int = 0
    revoked_at: int | None = None
    roles: frozenset[Role] = frozenset()
    quota: Quota = NO_QUOTA
    expires_at: int | None = None
    display_name: str = ""
    prefix: str = field(default="", repr=False)
    updated_at: int | None = None
    rotated_from: str | None = None
    version: int = 0

    def is_ended(self, now: int) -> bool:
        """Return whether the key is revoked or has expired at a time, in UTC ms.

        Example:
            >>> key = IngestKey("k", "merchants/demo", KeyKind.SERVER, expires_at=1_000)
            >>> key.is_ended(999), key.is_ended(1_000)
            (False, True)
        """
        return self.revoked_at is not None or (self.expires_at is not None and now >= self.expires_at)


class SiteDay(NamedTuple):
    """A site and a UTC day, as days since 1970-01-01: the unit of settlement."""

    site: str
    day: int
