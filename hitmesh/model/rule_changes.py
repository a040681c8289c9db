"""Change a site's exclusion rules: check values and limits, and make the next version. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import Final

from hitmesh.model.errors import NotFound, RefusedError
from hitmesh.model.exclusion import ExclusionRule, RuleKind, SiteRules
from hitmesh.model.limits import IPV4_PREFIX_BITS, IPV6_PREFIX_BITS
from hitmesh.model.payment_hosts import dropped_referrer
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rule_patterns import RulePatterns

MAX_RULES: Final = 50
"""Maximum number of rules that a site may have at the same time."""
MAX_RULES_EVER: Final = 1_000
"""Maximum number of rules that a site may have over time, including removed rules."""
MAX_VALUE_CHARS: Final = 200
"""Maximum length of a rule's value."""
_HOST: Final = re.compile(r"(?:\*\.)?LABEL(?:\.LABEL)*".replace("LABEL", r"[^\s.*/?#@\x00-\x1f\x7f]+"))
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")


def with_rule(rules: SiteRules, kind: RuleKind, value: str, *, now: int, own_hosts: Collection[str] = ()) -> SiteRules:
    """Return the next version of the rules, with one more rule.

    If the rule is already in force, return the same version. `own_hosts` are the hosts that the site declares.

    Raises:
        RefusedError: the value is invalid (INVALID_FIELD, INVALID_REGEXP), a limit is exceeded (TOO_MANY_RULES,
            FILTER_TOO_DEAR), or the rule would match no hit (RULE_NOT_APPLICABLE): the site stores no truncated
            addresses, or the referrer is an own host or a payment provider.

    Example:
        >>> with_rule(SiteRules(), RuleKind.HOST, "Staging.Example.com", now=0).current[0].value
        'staging.example.com'
    """
    wanted = checked_value(kind, value)
    current = rules.current
    if any((rule.kind, rule.value) == (kind, wanted) for rule in current):
        return rules
    if kind is RuleKind.NETWORK and rules.networks_since is None:
        raise RefusedError(
            f"network {value!r}: the site stores no truncated IP addresses, so the rule would match no hit: run "
            "`hitmesh rules store-network` (store_network of the site) first",
            field="rule.value",
            reason=ErrorReason.RULE_NOT_APPLICABLE,
            value=value,
        )
    if kind is RuleKind.REFERRER and (dropped := dropped_referrer(wanted, own_hosts)):
        raise RefusedError(
            f"referrer {value!r}: {dropped} is an own host of the site or a payment provider, which is never a "
            "referrer, so the rule would match no hit: use a rule of another kind",
            field="rule.value",
            reason=ErrorReason.RULE_NOT_APPLICABLE,
            value=value,
            host=dropped,
        )
    for count, limit, hint in (
        (len(current), MAX_RULES, "at a time: delete a rule first"),
        (len(rules.rules), MAX_RULES_EVER, "over time, including deleted rules: combine rules in a pattern"),
    ):
        if count >= limit:
            raise RefusedError(
                f"the site has {count:,} exclusion rules; the limit is {limit:,} {hint}",
                field="rule",
                reason=ErrorReason.TOO_MANY_RULES,
                count=count,
                limit=limit,
            )
    version = rules.version + 1
    added = replace(
        rules, version=version, rules=(*rules.rules, ExclusionRule(str(version), kind, wanted, version, now))
    )
    _refuse_dear_patterns(added.current, kind)
    return added


def without_rule(rules: SiteRules, id_: str) -> SiteRules:
    """Return the next version of the rules, without the given rule.

    Raises:
        NotFound: the site has no such rule.

    Example:
        >>> rules = with_rule(SiteRules(), RuleKind.COUNTRY, "AT", now=0)
        >>> without_rule(rules, rules.current[0].id).current
        ()
    """
    if all(rule.id != id_ for rule in rules.current):
        raise NotFound(
            f"exclusion rule {id_[:40]!r} does not exist: list the existing rules", field="name", value=id_[:40]
        )
    version = rules.version + 1
    return replace(
        rules,
        version=version,
        rules=tuple(replace(rule, until=version) if rule.id == id_ else rule for rule in rules.rules),
    )


def with_networks(rules: SiteRules, *, stored: bool, now: int) -> SiteRules:
    """Return the next version of the rules, in which `stored` decides whether truncated IP addresses are stored.

    If nothing changes, return the same version.

    Raises:
        RefusedError: a NETWORK rule is in force and needs the addresses (RULE_NOT_APPLICABLE).

    Example:
        >>> with_networks(SiteRules(), stored=True, now=5).networks_since
        5
    """
    if stored == (rules.networks_since is not None):
        return rules
    if not stored and any(rule.kind is RuleKind.NETWORK for rule in rules.current):
        raise RefusedError(
            "store_network cannot be unset, because the site has exclusion rules of kind NETWORK, which would match "
            "no further hit; delete these rules first",
            field="site.store_network",
            reason=ErrorReason.RULE_NOT_APPLICABLE,
        )
    return replace(rules, version=rules.version + 1, networks_since=now if stored else None)


def checked_value(kind: RuleKind, value: str) -> str:
    """Return a rule's value in normal form.

    Raises:
        RefusedError: the value does not suit the kind, or is too long.

    Example:
        >>> checked_value(RuleKind.NETWORK, "203.0.113.0/24"), checked_value(RuleKind.REFERRER, "www.Spam.example")
        ('203.0.113.0/24', 'spam.example')
    """
    if not value:
        raise _invalid(value, "is empty: give a value")
    if len(value) > MAX_VALUE_CHARS:
        raise _invalid(value, f"has {len(value)} characters; the limit is 1 to {MAX_VALUE_CHARS}: use several rules")
    return _CHECKS[kind](value)


def _checked_host(value: str) -> str:
    host = value.lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise _invalid(
            value, "is not a host: write a host as reports show it, or *. and a host for the host and its subdomains"
        )
    return host


def _checked_pattern(value: str) -> str:
    RulePatterns((value,))
    return value


def _checked_country(value: str) -> str:
    if not _COUNTRY.fullmatch(value):
        raise _invalid(value, "is not a country: write two letters of ISO 3166-1, for example AT")
    return value.upper()


def _checked_referrer(value: str) -> str:
    return _checked_host(value).removeprefix("www.")


def _checked_network(value: str) -> str:
    try:
        network = ip_network(value, strict=False)
    except ValueError as error:
        raise _invalid(value, "is not an IP range: write for example 203.0.113.0/24 or 2001:db8::/32") from error
    if "%" in value:
        raise _invalid(value, "has a zone, which stored addresses never have: remove % and the zone")
    mapped = _mapped(value, network.prefixlen)
    if mapped:
        raise _invalid(value, f"maps an IPv4 range into IPv6, but stored IPv4 addresses are not mapped: write {mapped}")
    bits = IPV4_PREFIX_BITS if network.version == 4 else IPV6_PREFIX_BITS
    if network.prefixlen > bits:
        wider = ip_network((network.network_address, bits), strict=False)
        raise _invalid(value, f"has a longer prefix than stored addresses, which are truncated: write {wider}")
    return str(network)


def _mapped(value: str, bits: int) -> str | None:
    """Return the IPv4 range for an IPv4-mapped IPv6 range; None for other ranges.

    Example:
        >>> _mapped("::ffff:203.0.113.0/120", 120), _mapped("::ffff:203.0.113.0/24", 24), _mapped("2001:db8::/32", 32)
        ('203.0.113.0/24', '203.0.113.0/24', None)
    """
    address = getattr(ip_address(value.partition("/")[0]), "ipv4_mapped", None)
    if address is None:
        return None
    return str(ip_network((address, min(bits - 96 if bits >= 96 else bits, IPV4_PREFIX_BITS)), strict=False))


_CHECKS: Final[Mapping[RuleKind, Callable[[str], str]]] = MappingProxyType(
    {
        RuleKind.HOST: _checked_host,
        RuleKind.PAGE: _checked_pattern,
        RuleKind.COUNTRY: _checked_country,
        RuleKind.USER_AGENT: _checked_pattern,
        RuleKind.REFERRER: _checked_referrer,
        RuleKind.NETWORK: _checked_network,
    }
)


def _refuse_dear_patterns(rules: tuple[ExclusionRule, ...], kind: RuleKind) -> None:
    if kind in (RuleKind.PAGE, RuleKind.USER_AGENT):
        RulePatterns(tuple(rule.value for rule in rules if rule.kind is kind))


def _invalid(value: str, rule: str) -> RefusedError:
    return RefusedError(f"value {value[:64]!r} {rule}", field="rule.value", value=value[:64])
