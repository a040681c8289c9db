"""A site's exclusion rules: which hits reports leave out by default (docs/rules.md, Excluded hits).

The version of a site's rules is the number of changes so far. A removed rule stays stored with the version that removed
the rule, so that the rules of every version can be found. A settled day keeps the rules version under which the day was
settled. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

AS_COLLECTED: Final = 0
"""The rules version of a generation that uses the exclusion flags set by the collector."""


class RuleKind(StrEnum):
    """The column that an exclusion rule compares. The values of this enum are stored.

    HOST: the page's host. PAGE: the page's path, matched with an RE2 pattern. COUNTRY: the ISO 3166-1 code. USER_AGENT:
        the user agent, matched with an RE2 pattern. REFERRER: the referrer's host. NETWORK: the truncated IP address.
    """

    HOST = "host"
    PAGE = "page"
    COUNTRY = "country"
    USER_AGENT = "user_agent"
    REFERRER = "referrer"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class ExclusionRule:
    """An exclusion rule. Times are UTC ms.

    Attributes:
        id: the last part of the resource name; unique among all rules that the site ever had.
        kind: the kind of values that the rule compares.
        value: host, pattern, country or network, in normal form.
        since: the first version that has the rule.
        created_at: the time at which the rule was added.
        until: the first version without the rule; None if the rule is in force.
    """

    id: str
    kind: RuleKind
    value: str
    since: int
    created_at: int
    until: int | None = None


@dataclass(frozen=True, slots=True)
class SiteRules:
    """All versions of a site's exclusion rules.

    Attributes:
        version: the number of changes so far; 0 before the first change.
        rules: all rules that the site ever had, in the order in which they were added.
        networks_since: the time (UTC ms) from which truncated IP addresses are stored; None if truncated addresses are
            not stored.
    """

    version: int = 0
    rules: tuple[ExclusionRule, ...] = ()
    networks_since: int | None = None

    def at(self, version: int) -> tuple[ExclusionRule, ...]:
        """Return the rules that were in force in a version.

        Example:
            >>> austria = ExclusionRule("1", RuleKind.COUNTRY, "AT", since=1, created_at=0, until=2)
            >>> rules = SiteRules(2, (austria,))
            >>> [rule.value for rule in rules.at(1)], rules.at(2)
            (['AT'], ())
        """
        return tuple(
            rule for rule in self.rules if rule.since <= version and (rule.until is None or version < rule.until)
        )

    @property
    def current(self) -> tuple[ExclusionRule, ...]:
        """The rules that are in force now.

        Example:
            >>> SiteRules(1, (ExclusionRule("1", RuleKind.COUNTRY, "AT", since=1, created_at=0),)).current[0].value
            'AT'
        """
        return self.at(self.version)


NO_RULES: Final = SiteRules()
