"""Determines a hit's channel by an ordered, versioned list of rules (rules.md §9).

The rules examine campaign and referrer. The result is a word from CHANNELS. The first matching rule determines the
channel; the last rule always matches. Rules are data, so that a catalogue can list all rules. The rules use the
referrer's kind instead of the referrer's host. The module `referrers` maps hosts to kinds. A change to a rule,
`own_lists`, `click_ids` or `monitors` requires a new CHANNELS_VERSION.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

CHANNELS_VERSION: Final = "2"

Channel = Literal["paid", "email", "social", "search", "ai_assistant", "referral", "direct"]


class Facts(NamedTuple):
    """The inputs of the rules, all in lower case. An input that is not set is "".

    `source_kind` is the kind of site or app that `source` names (search, social, ai or email), or "none".
    `referrer_kind` is the kind of site or app that the referrer names. If no list contains the site or app,
    `referrer_kind` is "site". If there is no referrer, `referrer_kind` is "none". Without a click id, `click` is "".
    `click` is "ad" if the click id is unknown, or if networks add it only to advertisements. If a network adds its
    click id to unpaid links too, `click` is the network's kind: search, social or email.
    """

    source: str
    medium: str
    campaign: str
    click: str
    source_kind: str
    referrer_kind: str


Field = Literal["source", "medium", "campaign", "click", "source_kind", "referrer_kind"]


@dataclass(frozen=True)
class In:
    """A condition that holds if the input `field` (see Facts) has a value in `values`."""

    field: Field
    values: frozenset[str]


@dataclass(frozen=True)
class Matches:
    """A condition that holds if `expression` matches any part of the input `field` (see Facts)."""

    field: Field
    expression: re.Pattern[str]


@dataclass(frozen=True)
class AllOf:
    """A condition that holds if all given conditions hold. AllOf without conditions always holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """A condition that holds if at least one of the given conditions holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """A condition that holds if the given condition does not hold."""

    condition: Condition


Condition = In | Matches | AllOf | AnyOf | Not


class Rule(NamedTuple):
    """A channel and its condition. Earlier rules take precedence over later rules."""

    channel: Channel
    when: Condition


def holds(condition: Condition, facts: Facts) -> bool:
    """Return whether the condition holds for the facts."""
    match condition:
        case In(field, values):
            return getattr(facts, field) in values
        case Matches(field, expression):
            return expression.search(getattr(facts, field)) is not None
        case AllOf(conditions):
            return all(holds(each, facts) for each in conditions)
        case AnyOf(conditions):
            return any(holds(each, facts) for each in conditions)
        case Not(inner):
            return not holds(inner, facts)


def _is(field: Field, *values: str) -> In:
    return In(field, frozenset(values))


def _comes_from(kind: str) -> Condition:
    """Return a condition on the source's kind.

    If neither source kind nor medium is set, the condition examines the referrer's kind.
    """
    silent = AllOf((_is("source_kind", "none"), _is("medium", ""), _is("referrer_kind", kind)))
    return AnyOf((_is("source_kind", kind), silent))


# Words that tools write into campaign parameters to say "not set".
_NO_SOURCE = _is("source", "", "direct", "(direct)", "(none)", "none")
_NO_MEDIUM = _is("medium", "", "direct", "(none)", "none", "(not set)")
_NO_SIGNAL = AllOf((_NO_SOURCE, _NO_MEDIUM, _is("campaign", ""), _is("click", ""), _is("referrer_kind", "none")))
_PAID_MEDIUM = re.compile(
    r"(?:^|[^a-z])(?:cp[acmlptv]|ppc|ppv|sem|retargeting|remarketing|display|banner|interstitial)(?:$|[^a-z])"
    r"|^paid"
)
_EMAIL_WORD = re.compile(r"(?:^|[^a-z])(?:e[-_ ]?mail|newsletter)")
_SOCIAL_MEDIUM = re.compile(r"^(?:social(?:[-_ ]?(?:network|media|post|organic))?s?|sm|organic[-_ ]social)$")

RULES: Final[tuple[Rule, ...]] = (
    Rule("paid", AnyOf((_is("click", "ad"), Matches("medium", _PAID_MEDIUM)))),
    Rule(
        "email",
        AnyOf(
            (
                Matches("medium", _EMAIL_WORD),
                _is("medium", "mail"),
                Matches("source", _EMAIL_WORD),
                _is("click", "email"),
                _comes_from("email"),
            )
        ),
    ),
    Rule("social", AnyOf((Matches("medium", _SOCIAL_MEDIUM), _is("click", "social"), _comes_from("social")))),
    Rule(
        "search",
        AllOf(
            (
                Not(_is("source_kind", "ai")),
                AnyOf(
                    (
                        _is("medium", "organic", "organic-search", "search"),
                        _is("click", "search"),
                        _comes_from("search"),
                    )
                ),
            )
        ),
    ),
    Rule("ai_assistant", AnyOf((_is("medium", "ai", "llm", "ai-assistant", "ai_assistant"), _comes_from("ai")))),
    Rule("referral", Not(_NO_SIGNAL)),
    Rule("direct", AllOf(())),
)


def channel_of(facts: Facts) -> Channel:
    """Return the channel of the first rule whose condition holds."""
    return next(rule.channel for rule in RULES if holds(rule.when, facts))
