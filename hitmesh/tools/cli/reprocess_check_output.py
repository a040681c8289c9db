"""Shows a check of settled site-days as a table or as JSON, and the plans that repair the problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any, Final, NamedTuple

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.dates import date_text_of
from hitmesh.model.names import short_site_name
from hitmesh.model.plurals import counted
from hitmesh.tools.cli.output import echo, note, print_json, print_table
from hitmesh.tools.cli.report_table import EMPTY
from hitmesh.tools.cli.reprocess_output import count_of

EVERY_SITE_DAYS: Final = 1_000
"""Number of site-days after which a check prints the next progress line."""
MAX_PROBLEMS: Final = 10_000
"""A check lists at most this many site-days with problems, and plans their repair; more site-days are only counted."""
MAX_SHOWN: Final = 60
MAX_PLANS: Final = 20
_SITES_IN_PLAN: Final = 100
_NAMES: Final = {
    pb.CHECKED_STORE_RAW: "raw hits",
    pb.CHECKED_STORE_LEDGER: "ledger entry",
    pb.CHECKED_STORE_SERIES: "series",
    pb.CHECKED_STORE_METRICS: "metric store",
    pb.CHECKED_STORE_CARRY: "carry",
}


@dataclass(slots=True)
class Checked:
    """The added-up results from all pages of a check."""

    site_days: int = 0
    hits: int = 0
    raw_hits: int = 0
    problem_site_days: int = 0
    problems: list[pb.HistoryProblem] = field(default_factory=list)

    def add(self, page: pb.CheckHistoryResponse) -> None:
        """Add a page."""
        self.site_days += page.site_days
        self.hits += page.hits
        self.raw_hits += page.raw_hits
        self.problem_site_days += len(page.problems)
        self.problems += page.problems[: MAX_PROBLEMS - len(self.problems)]


class RepairPlan(NamedTuple):
    """A plan that repairs all site-days of some sites in a range of UTC days."""

    sites: tuple[str, ...]
    first: date
    last: date

    @property
    def command(self) -> str:
        """The command line that stores the plan."""
        sites = " ".join(f"--site {short_site_name(site)}" for site in self.sites)
        return f"hitmesh reprocess plan --kind repair {sites} --since {self.first} --until {self.last}"

    @property
    def request(self) -> dict[str, Any]:
        """The body of `POST /v1/reprocessings`."""
        days = {"firstUtcDate": self.first, "lastUtcDate": self.last}
        dates = {name: {"year": day.year, "month": day.month, "day": day.day} for name, day in days.items()}
        return {"sites": list(self.sites), "kind": "REPROCESSING_KIND_REPAIR", **dates}


def is_beyond_repair(problem: pb.HistoryProblem) -> bool:
    """Return whether a repair would change nothing, because raw hits are lost and are no longer in the log.

    The ledger entry shows the number of raw hits that the site-day must have. If raw hits are lost, a repair keeps the
    site-day's old numbers, because new numbers would lack the lost hits.
    """
    if not problem.lost_hits or problem.log_hits:
        return False
    sums = {(each.store, each.measure): each for each in problem.findings if each.HasField("found")}
    raw, ledger = sums.get((pb.CHECKED_STORE_RAW, "hits")), sums.get((pb.CHECKED_STORE_LEDGER, "accepted"))
    return raw is None or raw.found < (raw.expected if ledger is None else ledger.found)


def plans_for(problems: Iterable[pb.HistoryProblem]) -> list[RepairPlan]:
    """Return the plans that repair the site-days.

    A site's consecutive days are in the same plan. Sites with equal ranges of days share a plan.

    The plans leave out site-days on which a repair would change nothing.
    """
    runs: dict[tuple[date, date], list[str]] = {}
    repairable = (problem for problem in problems if not is_beyond_repair(problem))
    for site, of_site in groupby(repairable, key=lambda problem: problem.site):
        days = sorted(date.fromisoformat(date_text_of(problem.utc_date)) for problem in of_site)
        for _, run in groupby(enumerate(days), key=lambda numbered: numbered[1].toordinal() - numbered[0]):
            in_run = [day for _, day in run]
            runs.setdefault((in_run[0], in_run[-1]), []).append(site)
    return [
        RepairPlan(tuple(sites[start : start + _SITES_IN_PLAN]), *days)
        for days, sites in sorted(runs.items())
        for start in range(0, len(sites), _SITES_IN_PLAN)
    ]


def print_checked(found: Checked, output: str) -> None:
    """Print a check; `output` is table or json."""
    plans = plans_for(found.problems)
    if output == "json":
        print_json(_fields(found, plans))
        return
    verdict = "all add up" if not found.problem_site_days else f"{count_of(found.problem_site_days)} not adding up"
    if not found.site_days:
        verdict = "no settled day is selected"
    echo(f"{count_of(found.site_days)} with {counted(found.hits, 'hit')} checked: {verdict}")
    if not found.problems:
        return
    echo()
    _print_problems(found.problems)
    if not plans:
        return
    echo()
    echo("plans that repair these site-days:")
    for plan in plans[:MAX_PLANS]:
        echo(f"  {plan.command}")
    _note_more(len(plans) - MAX_PLANS, "plans")


def _print_problems(problems: Sequence[pb.HistoryProblem]) -> None:
    rows = [
        (short_site_name(problem.site), date_text_of(problem.utc_date), *_cells(finding))
        for problem in problems[:MAX_SHOWN]
        for finding in problem.findings
    ]
    print_table(("site", "UTC day", "store", "what", "found", "expected", "difference"), rows, right_from=4)
    for problem in problems[:MAX_SHOWN]:
        name = f"{short_site_name(problem.site)} {date_text_of(problem.utc_date)}"
        for damage in dict.fromkeys(finding.damage for finding in problem.findings if finding.damage):
            note(f"{name}: {damage}")
        if problem.missing_hits:
            note(f"{name}: {_missing_text(problem)}")
    _note_more(len(problems) - MAX_SHOWN, "site-days")


def _cells(finding: pb.HistoryFinding) -> tuple[str, ...]:
    is_sum = finding.HasField("found") and finding.HasField("expected")
    return (
        _NAMES.get(finding.store, EMPTY),
        finding.measure or "cannot be read",
        f"{finding.found:,}" if finding.HasField("found") else EMPTY,
        f"{finding.expected:,}" if finding.HasField("expected") else EMPTY,
        f"{finding.found - finding.expected:+,}" if is_sum else EMPTY,
    )


def _missing_text(problem: pb.HistoryProblem) -> str:
    missing = f"{_hits_are(problem.missing_hits, 'raw hit')} missing"
    if not problem.HasField("lost_hits"):
        return f"{missing}; the repair finds out how many of them the log still has"
    if not problem.lost_hits:
        return f"{missing}; the log still has all of them, and a repair restores them"
    verb = "is" if problem.lost_hits == 1 else "are"
    return f"{missing}; the log still has {problem.log_hits:,}, and {problem.lost_hits:,} {verb} lost beyond repair"


def _hits_are(hits: int, noun: str) -> str:
    return f"{counted(hits, noun)} {'is' if hits == 1 else 'are'}"


def _note_more(count: int, of_what: str) -> None:
    if count > 0:
        note(f"{count:,} more {of_what}: give -o json")


def _fields(found: Checked, plans: Sequence[RepairPlan]) -> dict[str, Any]:
    return {
        "site_days": found.site_days,
        "hits": found.hits,
        "problem_site_days": found.problem_site_days,
        "problems": [
            {
                "site": short_site_name(problem.site),
                "utc_date": date_text_of(problem.utc_date),
                "findings": [_finding_fields(finding) for finding in problem.findings],
                "missing_hits": problem.missing_hits,
                "log_hits": problem.log_hits if problem.HasField("log_hits") else None,
                "lost_hits": problem.lost_hits if problem.HasField("lost_hits") else None,
                "beyond_repair": is_beyond_repair(problem),
            }
            for problem in found.problems
        ],
        "plans": [{"command": plan.command, "request": plan.request} for plan in plans],
    }


def _finding_fields(finding: pb.HistoryFinding) -> dict[str, Any]:
    return {
        "store": pb.CheckedStore.Name(finding.store).removeprefix("CHECKED_STORE_").lower(),
        "measure": finding.measure or None,
        "found": finding.found if finding.HasField("found") else None,
        "expected": finding.expected if finding.HasField("expected") else None,
        "damage": finding.damage or None,
    }
