"""Sites, keys and site-days: values that cross the ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hitmesh.model.limits import MAX_VISIT_HITS, VISIT_CAP_MS, VISIT_GAP_MS


@dataclass(frozen=True, slots=True)
class VisitPolicy:
    """The rules that group hits into visits (rules §4)."""

    version: str = "v1"
    gap_ms: int = VISIT_GAP_MS
    cap_ms: int = VISIT_CAP_MS
    max_hits: int = MAX_VISIT_HITS
    campaign_splits: bool = True
    split_at_local_midnight: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A site. `secret` keys visitor hashes and never leaves the back end."""

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


class KeyKind(StrEnum):
    """A key's kind, which decides its rights (hitmesh.access.roles). The values are stored."""

    BROWSER = "browser"
    SERVER = "server"
    EDGE = "edge"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class IngestKey:
    """A key. Its secret is kept only as SHA-256.

    `site` None = every site of `merchant` ("merchants/m"). `merchant` is OPERATORS for a key of an operator.
    """

    key_id: str
    merchant: str
    kind: KeyKind
    site: str | None = None
    unbounded_history: bool = False
    created_at: int = 0
    revoked_at: int | None = None


class SiteDay(NamedTuple):
    """A site's UTC day: days since 1970-01-01. The unit of settlement."""

    site: str
    day: int
