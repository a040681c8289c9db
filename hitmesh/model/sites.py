"""Sites, keys and site-days, as the interfaces in hitmesh.ports use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hitmesh.model.exclusion import NO_RULES, SiteRules
from hitmesh.model.limits import MAX_VISIT_HITS, VISIT_CAP_MS, VISIT_GAP_MS


@dataclass(frozen=True, slots=True)
class VisitPolicy:
    """The limits and switches of the rules that group hits into visits (rules §4)."""

    version: str = "v1"
    gap_ms: int = VISIT_GAP_MS
    cap_ms: int = VISIT_CAP_MS
    max_hits: int = MAX_VISIT_HITS
    campaign_splits: bool = True
    split_at_local_midnight: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A site.

    `secret` is the key of the visitor hashes and never leaves the back end. `spread` is the number of partitions over
    which the site's visitors are spread (hitmesh.model.keys:partition_of). `created_at` is in UTC ms. `rules` are the
    exclusion rules, and whether truncated IP addresses are stored.
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


class KeyKind(StrEnum):
    """A key's kind, which decides its rights (hitmesh.access.roles). Stores keep these values."""

    BROWSER = "browser"
    SERVER = "server"
    EDGE = "edge"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class IngestKey:
    """A key. Stores keep only the SHA-256 of its secret.

    If `site` is None, the key is for every site of `merchant` ("merchants/m"). For the key of an operator, `merchant`
    is hitmesh.model.names.OPERATORS. Times are UTC ms.
    """

    key_id: str
    merchant: str
    kind: KeyKind
    site: str | None = None
    unbounded_history: bool = False
    created_at: int = 0
    revoked_at: int | None = None


class SiteDay(NamedTuple):
    """A site and a UTC day, as days since 1970-01-01: the unit of settlement."""

    site: str
    day: int
