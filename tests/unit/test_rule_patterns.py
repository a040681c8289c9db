"""Test patterns in exclusion rules: limits, the bytes that they match, and stored rules that do not compile."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from structlog.testing import capture_logs

from collector.broken_rules import BrokenRules
from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import NO_RULES, ExclusionRule, RuleKind, SiteRules
from hitmesh.model.reasons import HitFlag
from hitmesh.model.reprocessings import State, Work
from hitmesh.model.rows.rule_flags import broken_rules, matcher_of, rule_flags
from hitmesh.model.rule_changes import checked_value, with_rule, without_rule
from hitmesh.model.rule_patterns import MATCHED_BYTES, MAX_RULE_PROGRAM, RulePatterns
from hitmesh.model.sites import KeyKind
from hitmesh.runtime.logs import Seldom
from tests.support.admitting import SITE as DEMO
from tests.support.admitting import grant
from tests.support.reprocessing import reprocessor_of, request, work_off
from tests.support.site_rules import add_rule, apply_rules, plan_rules
from tests.unit.reprocessed import a_settled_mesh, arrive, entries
from tests.unit.settling import SITE, a_hit
from tests.unit.test_admission_rules import admit_for, at_edge, the_hit

HUGE = "(?:||||||||||||){1000}"
HOSTILE = [
    "(?:(?:a?b?){N})$c",
    "[ab]*a[ab]{N}c",
    "(?:a?|b?|\\B){N}c$",
    "(?:||||){N}",
    "a.{N}c",
    "(?:(?:a|){30}){N}",
]


def stored_rules(*values: str) -> SiteRules:
    """Return rules with an unchecked pattern, as an earlier release may have stored them."""
    rules = tuple(ExclusionRule(str(n), RuleKind.PAGE, value, n, 0) for n, value in enumerate(values, 1))
    return SiteRules(len(rules), rules)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_pattern_that_is_accepted_compiles_when_hits_are_matched(pattern: str) -> None:
    accepted = []
    for count in (1, 5, 20, 100, 1_000):
        value = pattern.replace("N", str(count))
        with suppress(RefusedError):
            accepted.append(checked_value(RuleKind.PAGE, value))
    assert accepted
    assert [broken_rules(stored_rules(value).current) for value in accepted] == [()] * len(accepted)


def test_patterns_have_a_limit_of_instructions_alone_and_together() -> None:
    RulePatterns((f"a{{{MAX_RULE_PROGRAM - 10}}}",))
    for values in ((f"a{{{MAX_RULE_PROGRAM + 1}}}",), tuple(f"{letter}{{60}}" for letter in "abc")):
        with pytest.raises(RefusedError, match=f"limit is {MAX_RULE_PROGRAM}"):
            RulePatterns(values)


def test_patterns_see_the_first_bytes_of_a_value() -> None:
    patterns = RulePatterns(("ä$", "b"))
    assert patterns("ä" * MATCHED_BYTES + "x")
    assert not patterns("x" + "ä" * MATCHED_BYTES)  # the limit of MATCHED_BYTES falls inside a character
    assert not patterns("x" * MATCHED_BYTES + "b")
    assert patterns("x" * (MATCHED_BYTES - 1) + "b")


def test_quotation_up_to_the_end_of_a_pattern_ends_there() -> None:
    rules = with_rule(with_rule(NO_RULES, RuleKind.PAGE, r"\Qa.b\\", now=0), RuleKind.PAGE, "^/c", now=0)
    matches = matcher_of(rules.current).by_kind[RuleKind.PAGE]
    assert [matches(text) for text in (r"/a.b\\", "/c", "/axb", "|")] == [True, True, False, False]


def test_stored_rule_that_does_not_compile_is_skipped_and_the_others_match() -> None:
    rules = stored_rules("^/admin", HUGE, "(", "a{149}", "^/test")
    assert [rule.id for rule in broken_rules(rules.current)] == ["2", "3", "4"]
    rows = pl.DataFrame({"page_path": ["/admin", "/test", "/("]})
    flags = rule_flags(rows, [matcher_of(rules.current)], np.zeros(3, np.int32))
    assert flags.tolist() == [HitFlag.RULE_PAGE, HitFlag.RULE_PAGE, 0]
    assert admit_for(rules, at_edge(the_hit())).accepted.tolist() == [1]
    assert broken_rules(without_rule(without_rule(without_rule(rules, "2"), "3"), "4").current) == ()


def test_skipped_rules_are_named_once_per_version_and_at_a_bounded_rate() -> None:
    now = [0.0]
    noted = BrokenRules(Seldom(60, lambda: now[0]))
    rules = stored_rules("^/a", HUGE)
    sites = [grant(KeyKind.EDGE, replace(DEMO, name=f"merchants/m/sites/{name}", rules=rules)) for name in "st"]
    lines = []
    for at_s in (0.0, 1.0, 61.0, 200.0):
        now[0] = at_s
        with capture_logs() as logs:
            noted.note(sites)
        lines.append([(line["event"], line["site"], line["rules"]) for line in logs])
    named = [[("exclusion_rules_skipped", f"merchants/m/sites/{name}", [f"2: page {HUGE!r}"])] for name in "st"]
    assert lines == [named[0], [], named[1], []]


def test_reprocessing_with_a_rule_that_does_not_compile_fails_and_names_the_rule() -> None:
    mesh = a_settled_mesh()
    assert mesh.stores.directory.change_rules(SITE, stored_rules(HUGE))
    plan_rules(mesh, SITE)
    request(mesh, Work.RECOMPUTE, "rules")
    failed = work_off(mesh, reprocessor_of(mesh), "rules")
    assert failed.state is State.FAILED
    assert "exclusion rule 1 (page" in failed.error
    assert "delete the rule" in failed.error


def test_settler_names_the_rules_that_it_skips_once() -> None:
    mesh = a_settled_mesh()
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE)
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    # In a release with different limits, a stored rule may no longer compile.
    broken = replace(site, rules=stored_rules(HUGE))
    mesh.stores.directory._sites[SITE] = broken  # type: ignore[attr-defined]  # no call stores such a rule
    lines = []
    for minute in (41, 42):
        arrive(mesh, a_hit(minute, "late"))
        with capture_logs() as logs:
            mesh.settle()
        lines.append([(line["site"], line["rules"]) for line in logs if line["event"] == "exclusion_rules_skipped"])
    assert lines == [[(SITE, [f"1: page {HUGE!r}"])], []]
    assert [entry.rules_version for entry in entries(mesh).values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "cure"),
    [("*a", r"write \* or \+"), ("a**", r"write \* or \+"), ("(?=x)", "no look-around"), ("a[", "the syntax is RE2")],
)
def test_an_error_of_a_pattern_has_a_cure_of_its_own(value: str, cure: str) -> None:
    with pytest.raises(RefusedError) as refused:
        checked_value(RuleKind.PAGE, value)
    assert refused.value.message.endswith(cure) or cure in refused.value.message
    assert ("look-around" in refused.value.message) is ("look-around" in cure)


def test_an_empty_value_is_named_as_such() -> None:
    with pytest.raises(RefusedError, match="is empty: give a value"):
        checked_value(RuleKind.PAGE, "")
