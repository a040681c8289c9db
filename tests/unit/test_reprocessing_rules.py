"""Test reprocessings that apply exclusion rules to settled days.

The tests compare, publish and roll back the reprocessings, and remove the rules.
"""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.exclusion import AS_COLLECTED, RuleKind
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, Work
from tests.reference.hits import RefHit
from tests.support.erasing import erase, without
from tests.support.reprocessing import done, imbalance, plan, rebuilt
from tests.support.site_rules import (
    add_rule,
    apply_rules,
    expected_under,
    plan_rules,
    remove_rule,
    store_networks,
    without_bots,
)
from tests.support.small_mesh import SmallMesh, differences
from tests.unit.reprocessed import a_settled_mesh, arrive, entries
from tests.unit.settling import DAY, OTHER, SITE, a_hit, an_order, dirty


def under_admin(hit: RefHit) -> bool:
    return (hit.page_path or "").startswith("/admin")


def admin(minute: float, visitor: str = "v") -> RefHit:
    return replace(a_hit(minute, visitor), page_path=f"/admin/{minute:g}")


def versions(mesh: SmallMesh) -> list[int]:
    return [entry.rules_version for entry in entries(mesh).values()]


def test_applied_rules_exclude_the_hits_that_match_and_taking_the_rule_back_brings_the_hits_back() -> None:
    mesh = a_settled_mesh(admin(12), admin(1_505), admin(30, "w"))
    before = mesh.rows()
    id_ = add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    assert versions(mesh) == [AS_COLLECTED] * 3
    for turn in ("on", "on-again"):
        apply_rules(mesh, SITE, id_=turn)
        changes = rebuilt(mesh, turn)[0].changes
        assert changes["hits"] == Change(4, 2)
        assert changes["visitors"] == Change(2, 1)
        assert changes["excluded_hits"] == Change(0, 2)
        reasons = rebuilt(mesh, turn)[0].reasons
        assert reasons is not None
        assert (reasons.newly_excluded_hits, reasons.no_longer_excluded_hits) == (2, 0)
        assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []
        assert (len(set(versions(mesh))), imbalance(mesh)) == (1, 0)
        remove_rule(mesh.stores.directory, SITE, id_)
        apply_rules(mesh, SITE, id_=f"off after {turn}")
        assert (mesh.rows(), imbalance(mesh)) == (before, 0)
        id_ = add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")


def test_rolled_back_rules_leave_the_rows_of_before() -> None:
    mesh = a_settled_mesh(admin(12))
    before = mesh.rows()
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE)
    done(mesh, Work.ROLL_BACK, "rules")
    assert (mesh.rows(), versions(mesh), dirty(mesh)) == (before, [AS_COLLECTED] * 3, [])
    done(mesh, Work.PUBLISH, "rules")
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []


def test_unchanged_rules_have_an_empty_difference() -> None:
    mesh = a_settled_mesh(admin(12), an_order(30, "o"), an_order(1_600, "o", "w"))
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    for id_ in ("first", "second"):
        plan_rules(mesh, SITE, id_=id_)
        done(mesh, Work.RECOMPUTE, id_)
        done(mesh, Work.PUBLISH, id_)
        mesh.settle()
    found = rebuilt(mesh, "second")
    assert all(change.old == change.new for each in found for change in each.changes.values())
    assert all(not each.disturbed_days and not each.flags for each in found)


def test_late_hits_are_settled_under_the_rules_of_their_day_whatever_the_rules_are_now() -> None:
    mesh = a_settled_mesh(admin(12))
    id_ = add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE, (DAY, DAY + 1))
    remove_rule(mesh.stores.directory, SITE, id_)
    arrive(mesh, admin(40, "late"), admin(1_520, "late"))
    mesh.settle()
    # On the first day, the rules that the reprocessing applied decide about a late hit. On later days, the collector's
    # decision counts.
    assert versions(mesh) == [1, AS_COLLECTED, AS_COLLECTED]
    assert (
        differences(
            without_bots(mesh.rows()),
            expected_under(mesh.sent, lambda hit: under_admin(hit) and hit.event_time // 86_400_000 == DAY),
        )
        == []
    )
    assert imbalance(mesh) == 0


def test_late_hits_before_a_publication_or_a_rollback_get_the_rules_of_the_wanted_generation() -> None:
    mesh = a_settled_mesh(admin(12))
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    plan_rules(mesh, SITE)
    done(mesh, Work.RECOMPUTE, "rules")
    arrive(mesh, admin(40, "late"))
    mesh.settle()
    done(mesh, Work.PUBLISH, "rules")
    mesh.settle()
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []
    arrive(mesh, admin(50, "later"))
    mesh.settle()
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []
    done(mesh, Work.ROLL_BACK, "rules")
    mesh.settle()
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, lambda _: False)) == []
    assert (versions(mesh), imbalance(mesh)) == ([AS_COLLECTED] * 3, 0)


def test_other_kinds_keep_the_rules_of_each_day() -> None:
    mesh = a_settled_mesh(admin(12))
    id_ = add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE)
    remove_rule(mesh.stores.directory, SITE, id_)
    plan(mesh, [SITE], id_="logic", logic="v1")
    done(mesh, Work.RECOMPUTE, "logic")
    assert all(change.old == change.new for each in rebuilt(mesh, "logic") for change in each.changes.values())
    done(mesh, Work.PUBLISH, "logic")
    assert versions(mesh) == [1, 1, 1]
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []


def test_erasure_and_repair_keep_the_rules_of_each_day() -> None:
    mesh = a_settled_mesh(admin(12), admin(20, "w"), a_hit(30, "w"), admin(1_505, "w"))
    id_ = add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE)
    remove_rule(mesh.stores.directory, SITE, id_)
    erase(mesh, SITE, "w")
    mesh.settle()
    left = without(mesh.sent, "w")
    assert differences(without_bots(mesh.rows()), expected_under(left, under_admin)) == []
    plan(mesh, [SITE], id_="repair", kind=Kind.REPAIR)
    done(mesh, Work.RECOMPUTE, "repair")
    assert all(change.old == change.new for each in rebuilt(mesh, "repair") for change in each.changes.values())
    done(mesh, Work.PUBLISH, "repair")
    assert (versions(mesh), imbalance(mesh)) == ([1, 1, 1], 0)


def test_visit_over_midnight_is_split_where_only_the_second_day_excludes_its_hits() -> None:
    mesh = a_settled_mesh(admin(1_435, "x"), admin(1_445, "x"), a_hit(1_450, "x"))
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE, (DAY + 1, DAY + 2))
    assert versions(mesh) == [AS_COLLECTED, 1, AS_COLLECTED]

    def is_excluded(hit: RefHit) -> bool:
        return under_admin(hit) and hit.event_time // 86_400_000 == DAY + 1

    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, is_excluded)) == []


def test_order_moves_to_the_claim_that_the_rules_do_not_exclude() -> None:
    first = replace(an_order(30, "o", "x"), page_path="/admin/order")
    mesh = a_settled_mesh(first, an_order(2_900, "o", "w"), an_order(4_500, "p"))
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE, (DAY, DAY + 1))
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, under_admin)) == []
    done(mesh, Work.ROLL_BACK, "rules")
    mesh.settle()
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, lambda _: False)) == []


def test_network_rule_counts_the_hits_without_a_stored_network() -> None:
    mesh = a_settled_mesh(admin(12))
    store_networks(mesh.stores.directory, SITE)
    add_rule(mesh.stores.directory, SITE, RuleKind.NETWORK, "203.0.113.0/24")
    plan_rules(mesh, SITE)
    done(mesh, Work.RECOMPUTE, "rules")
    assert [each.not_applicable for each in rebuilt(mesh, "rules")] == [3, 2, 2]
    assert all(change.old == change.new for each in rebuilt(mesh, "rules") for change in each.changes.values())


def test_rules_of_a_site_leave_every_other_site_as_it_is() -> None:
    mesh = SmallMesh(a_settled_mesh().clock.now(), sites=[SITE, OTHER])
    mesh.send([admin(12), replace(admin(13), site=OTHER)])
    mesh.settle()
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/admin")
    apply_rules(mesh, SITE)
    expected = expected_under(mesh.sent, lambda hit: hit.site == SITE)
    assert differences(without_bots(mesh.rows()), expected) == []
