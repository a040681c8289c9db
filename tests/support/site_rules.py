"""Change the exclusion rules of sites in a small mesh, and mark the hits that the rules must exclude."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from hitmesh.model.exclusion import RuleKind
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing, Work
from hitmesh.model.rule_changes import with_networks, with_rule, without_rule
from hitmesh.ports import SiteDirectory
from tests.reference.hits import RefHit
from tests.support.reprocessing import done
from tests.support.small_mesh import Rows, SmallMesh, expected_rows


def add_rule(directory: SiteDirectory, site: str, kind: RuleKind, value: str) -> str:
    """Add a rule, and return its id."""
    there = directory.site(site)
    assert there is not None
    changed = with_rule(there.rules, kind, value, now=0)
    assert directory.change_rules(site, changed)
    return changed.current[-1].id


def remove_rule(directory: SiteDirectory, site: str, id_: str) -> None:
    """Remove a rule."""
    there = directory.site(site)
    assert there is not None
    assert directory.change_rules(site, without_rule(there.rules, id_))


def store_networks(directory: SiteDirectory, site: str, *, now: int = 0) -> None:
    """Let a site store the truncated IP addresses of its hits."""
    there = directory.site(site)
    assert there is not None
    assert directory.change_rules(site, with_networks(there.rules, stored=True, now=now))


def plan_rules(mesh: SmallMesh, site: str, days: tuple[int, int] = (0, 10**6), id_: str = "rules") -> Reprocessing:
    """Store a reprocessing that will apply a site's current rules to its settled days."""
    there, now = mesh.stores.directory.site(site), mesh.clock.now()
    assert there is not None
    planned = Reprocessing(id_, Kind.RULES, "v1", (site,), *days, now, now, rules=(there.rules.version,))
    mesh.stores.reprocessings.create(planned)
    return planned


def apply_rules(mesh: SmallMesh, site: str, days: tuple[int, int] = (0, 10**6), id_: str = "rules") -> None:
    """Apply a site's current rules to its settled days, publish the days, and settle days that became dirty."""
    plan_rules(mesh, site, days, id_)
    done(mesh, Work.RECOMPUTE, id_)
    done(mesh, Work.PUBLISH, id_)
    mesh.settle()


def excluded_where(hits: Iterable[RefHit], matches: Callable[[RefHit], bool]) -> list[RefHit]:
    """Return all hits. Hits that a rule matches are marked as excluded."""
    return [replace(hit, excluded=hit.excluded or matches(hit)) for hit in hits]


def without_bots(rows: Rows) -> Rows:
    """Return rows without `bot_hits`, because the reference counts every excluded hit as a hit of a bot."""
    kept = {key: {name: value for name, value in row.items() if name != "bot_hits"} for key, row in rows.items()}
    return {key: row for key, row in kept.items() if row}


def expected_under(hits: Iterable[RefHit], matches: Callable[[RefHit], bool]) -> Rows:
    """Return the rows that the reference expects under a rule, without `bot_hits`."""
    return without_bots(expected_rows(excluded_where(hits, matches)))
