"""Match hits against exclusion rules and return the flags of the rules. Admission and settlement use this module. Pure.

Admission and settlement compare the same stored columns, so the same rules exclude the same hits in admission and in
settlement. Each distinct value is matched once, in bounded time (`hitmesh/model/rule_patterns.py`). A stored rule that
does not compile matches no hit. A broken rule must not stop the ingestion of its site's hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import ExclusionRule, RuleKind
from hitmesh.model.reasons import HitFlag
from hitmesh.model.rule_patterns import MATCHED_BYTES, VALUE_STEPS, RulePatterns


class Matched(NamedTuple):
    """The column that rules of a kind compare, and the flag that a matching hit gets."""

    column: str
    flag: HitFlag


MATCHED: Final[Mapping[RuleKind, Matched]] = MappingProxyType(
    {
        RuleKind.HOST: Matched("hostname", HitFlag.RULE_HOST),
        RuleKind.PAGE: Matched("page_path", HitFlag.RULE_PAGE),
        RuleKind.COUNTRY: Matched("country", HitFlag.RULE_COUNTRY),
        RuleKind.USER_AGENT: Matched("user_agent", HitFlag.RULE_USER_AGENT),
        RuleKind.REFERRER: Matched("referrer_host", HitFlag.RULE_REFERRER),
        RuleKind.NETWORK: Matched("network", HitFlag.RULE_NETWORK),
    }
)
RULE_COLUMNS: Final = tuple(matched.column for matched in MATCHED.values())
_REMEMBERED: Final = 512

Matches = Callable[[str], bool]


class RuleMatcher:
    """A site's exclusion rules, compiled for matching. Not thread-safe.

    Attributes:
        by_kind: for each kind that has rules, a function that returns whether any of the rules matches a value.
        sizes: the number of RE2 instructions for each kind that has patterns.
        broken: the rules that match nothing, because they do not compile alone or together with earlier rules.
    """

    def __init__(self, rules: Sequence[tuple[RuleKind, str]]) -> None:
        by_kind: dict[RuleKind, Matches] = {}
        sizes: dict[RuleKind, int] = {}
        broken: set[tuple[RuleKind, str]] = set()
        for kind in RuleKind:
            values = tuple(value for of, value in rules if of is kind)
            kept, matches = _working(kind, values)
            if matches:
                by_kind[kind] = matches
            if isinstance(matches, RulePatterns):
                sizes[kind] = matches.size
            broken.update((kind, value) for value in values if value not in kept)
        self.by_kind: Mapping[RuleKind, Matches] = by_kind
        self.sizes: Mapping[RuleKind, int] = sizes
        self.broken = frozenset(broken)

    def steps(self, kind: RuleKind, values: pl.Series) -> pl.Series:
        """Return the maximum number of RE2 steps for matching each value; 0 for kinds without patterns.

        Example:
            >>> rule = ExclusionRule("1", RuleKind.PAGE, "^/admin/", since=1, created_at=0)
            >>> matcher = matcher_of([rule])
            >>> matcher.steps(RuleKind.PAGE, pl.Series(["/a"]))[0] == matcher.sizes[RuleKind.PAGE] * 2 + VALUE_STEPS
            True
        """
        size = self.sizes.get(kind)
        lengths = values.str.len_bytes().cast(pl.Int64)
        return lengths * 0 if size is None else lengths.clip(upper_bound=MATCHED_BYTES) * size + VALUE_STEPS


def matcher_of(rules: Sequence[ExclusionRule]) -> RuleMatcher:
    """Return the matcher for these rules; compiled rules are cached.

    Example:
        >>> rule = ExclusionRule("1", RuleKind.HOST, "*.example.com", since=1, created_at=0)
        >>> matcher_of([rule]).by_kind[RuleKind.HOST]("shop.example.com")
        True
    """
    return _remembered(tuple((rule.kind, rule.value) for rule in rules))


def broken_rules(rules: Sequence[ExclusionRule]) -> tuple[ExclusionRule, ...]:
    """Return the rules that match nothing because they do not compile.

    Example:
        >>> broken_rules([ExclusionRule("7", RuleKind.PAGE, "(", since=7, created_at=0)])[0].id
        '7'
    """
    broken = matcher_of(rules).broken
    return tuple(rule for rule in rules if (rule.kind, rule.value) in broken)


@lru_cache(_REMEMBERED)
def _remembered(rules: tuple[tuple[RuleKind, str], ...]) -> RuleMatcher:
    return RuleMatcher(rules)


def rule_flags(
    rows: pl.DataFrame, matchers: Sequence[RuleMatcher], which: npt.NDArray[np.integer]
) -> npt.NDArray[np.uint32]:
    """Return the rule flags of hits.

    Args:
        rows: hits with the columns that the matchers read (RULE_COLUMNS).
        matchers: the matchers, for example of several sites.
        which: array of shape (n,): for each hit, the index into `matchers`.

    Example:
        >>> rule = ExclusionRule("1", RuleKind.COUNTRY, "AT", since=1, created_at=0)
        >>> rule_flags(pl.DataFrame({"country": ["AT", "DE", None]}), [matcher_of([rule])], np.zeros(3, np.int32))
        array([32,  0,  0], dtype=uint32)
    """
    flags = np.zeros(rows.height, np.uint32)
    for kind, (column, flag) in MATCHED.items():
        concerned = np.array([kind in matcher.by_kind for matcher in matchers], dtype=np.bool_)
        at = np.flatnonzero(concerned[which] if concerned.any() else False)
        if len(at):
            flags[at[_matching(rows[column].gather(at), matchers, which[at], kind)]] |= np.uint32(flag)
    return flags


def rule_steps(rows: pl.DataFrame, matchers: Sequence[RuleMatcher], which: npt.NDArray[np.integer]) -> pl.DataFrame:
    """Return, for each distinct value, the maximum number of RE2 steps that `rule_flags` needs for the given hits.

    Args:
        rows: as for `rule_flags`.
        matchers: as for `rule_flags`.
        which: as for `rule_flags`.

    Returns:
        A row per distinct value, with the columns `which`, `first` and `steps`. `first` is the row number of the first
        hit with the value.

    Example:
        >>> rule = ExclusionRule("1", RuleKind.PAGE, "^/a", since=1, created_at=0)
        >>> pages = pl.DataFrame({"page_path": ["/b", "/a", "/b"]})
        >>> rule_steps(pages, [matcher_of([rule])], np.zeros(3, np.int32))["first"].to_list()
        [0, 1]
    """
    parts = [pl.DataFrame(schema={"which": pl.Int32(), "first": pl.Int64(), "steps": pl.Int64()})]
    for kind, (column, _) in MATCHED.items():
        for number, matcher in enumerate(matchers):
            at = np.flatnonzero(which == number) if kind in matcher.sizes else np.zeros(0, np.int64)
            if not len(at):
                continue
            values = pl.DataFrame({"first": at, "value": rows[column].gather(at)}).drop_nulls()
            distinct = values.group_by("value", maintain_order=True).first()
            steps = matcher.steps(kind, distinct["value"]).alias("steps")
            parts.append(distinct.select(pl.lit(number, pl.Int32).alias("which"), "first", steps))
    return pl.concat(parts)


def _matching(
    values: pl.Series, matchers: Sequence[RuleMatcher], which: npt.NDArray[np.integer], kind: RuleKind
) -> npt.NDArray[np.uint32]:
    """Return the numbers of the matching rows. Each matcher is called once for each distinct value."""
    pairs = pl.DataFrame({"which": which.astype(np.int32), "value": values}).with_row_index("at")
    distinct = pairs.select("which", "value").drop_nulls().unique()
    found = [matchers[number].by_kind[kind](value) for number, value in distinct.iter_rows()]
    matched = distinct.filter(pl.Series(found, dtype=pl.Boolean))
    return pairs.join(matched, on=["which", "value"], how="semi")["at"].to_numpy()


def _working(kind: RuleKind, values: tuple[str, ...]) -> tuple[tuple[str, ...], Matches | None]:
    """Return the rules that compile together, and a function that tells whether any of these rules matches a value.

    If not all rules compile together, earlier rules take precedence.
    """
    whole = _compiled(kind, values)
    if whole or not values:
        return values, whole
    kept: tuple[str, ...] = ()
    for value in values:
        matches = _compiled(kind, (*kept, value))
        if matches:
            kept, whole = (*kept, value), matches
    return kept, whole


def _compiled(kind: RuleKind, values: tuple[str, ...]) -> Matches | None:
    try:
        return _COMPILED[kind](values) if values else None
    except (RefusedError, ValueError):
        return None


def _of_hosts(values: tuple[str, ...]) -> Matches:
    hosts = frozenset(value for value in values if not value.startswith("*."))
    domains = frozenset(value.removeprefix("*.") for value in values if value.startswith("*."))

    def matches(host: str) -> bool:
        if host in hosts:
            return True
        labels = host.split(".") if domains else []
        return any(".".join(labels[first:]) in domains for first in range(len(labels)))

    return matches


def _of_patterns(values: tuple[str, ...]) -> Matches:
    return RulePatterns(values)


def _of_countries(values: tuple[str, ...]) -> Matches:
    return frozenset(values).__contains__


def _of_networks(values: tuple[str, ...]) -> Matches:
    networks = [ip_network(value) for value in values]

    def matches(network: str) -> bool:
        try:
            address = ip_network(network)
        except ValueError:
            return False
        return any(_contains(wider, address) for wider in networks)

    return matches


def _contains(wider: IPv4Network | IPv6Network, narrower: IPv4Network | IPv6Network) -> bool:
    return wider.version == narrower.version and narrower.network_address in wider


_COMPILED: Final[Mapping[RuleKind, Callable[[tuple[str, ...]], Matches]]] = MappingProxyType(
    {
        RuleKind.HOST: _of_hosts,
        RuleKind.PAGE: _of_patterns,
        RuleKind.COUNTRY: _of_countries,
        RuleKind.USER_AGENT: _of_patterns,
        RuleKind.REFERRER: _of_hosts,
        RuleKind.NETWORK: _of_networks,
    }
)
