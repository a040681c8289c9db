"""Decides which facts about hits are findings: the canary, ledgers, and settled days. Pure.

Knows nothing of how facts are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hitmesh.model.names import short_site_name
from hitmesh.model.plurals import counted
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.facts import CanaryFacts, CountedFacts, DamagedDay, HistoryFacts, LedgersFacts, SiteLedger
from hitmesh.tools.doctor.findings import Finding, Verdict
from hitmesh.tools.doctor.judge_machine import judge_clocks
from hitmesh.tools.doctor.limits import Limits

PREPARED: Final = "prepared"
ACKNOWLEDGED: Final = "acknowledged"
REPORTED: Final = "reported"
COUNTED: Final = "counted"
STEPS: Final = (PREPARED, ACKNOWLEDGED, REPORTED, COUNTED)
"""The steps of the canary's journey, in order."""
_KINDS: Final = {
    PREPARED: kinds.CANARY_REFUSED,
    ACKNOWLEDGED: kinds.CANARY_NOT_ACKNOWLEDGED,
    REPORTED: kinds.CANARY_NOT_REPORTED,
    COUNTED: kinds.CANARY_MISCOUNTED,
}


_SERIES_STORE: Final = "cassandra"
"""On servers, the store of reports without dimensions (docs/decisions/0127)."""


def uncounted(facts: CountedFacts) -> str:
    """Return why two reports do not show that the canary counts once; "" if they show it."""
    if facts.by_page != 1 or facts.in_all <= facts.before:
        return f"reports count {facts.text}; expected are 1 with its page, and more on the site than before"
    if facts.is_on_servers and facts.store_of_all != _SERIES_STORE:
        return f"the report on the site does not come from {_SERIES_STORE}: reports count {facts.text}"
    return ""


def judge_canary(facts: CanaryFacts, limits: Limits) -> Verdict:
    """Judge the canary's journey from the front door into a report."""
    way = "; ".join(f"{step.name} after {step.after_s:.1f} s: {step.detail}" for step in facts.steps)
    evidence = f"hit {facts.hit_id}, request {facts.request_id}" + (f"; {way}" if way else "")
    subject = f"canary on {short_site_name(facts.site)}"
    values = {"hit_id": facts.hit_id, "site": short_site_name(facts.site)}
    if facts.failed_step:
        finding = _KINDS[facts.failed_step].about(subject, facts.error, evidence, **values)
        return Verdict(f"not {facts.failed_step}", [finding])
    visible_s = facts.visible_s or 0.0
    clocks = [] if facts.log_clock is None else judge_clocks([facts.log_clock], limits).findings
    summary = f"in a report {visible_s:.1f} s after the acknowledgement"
    if visible_s > limits.canary_s:
        cause = f"the canary took {visible_s:.1f} s into a report, more than {limits.canary_s:g} s"
        return Verdict(summary, [kinds.CANARY_NOT_REPORTED.about(subject, cause, evidence, **values), *clocks])
    return Verdict(summary, clocks)


def judge_ledgers(facts: LedgersFacts, limits: Limits) -> Verdict:
    """Judge whether the ledgers balance, and whether acknowledged hits are read."""
    findings = [finding for each in facts.ledgers for finding in _ledger(each, limits)]
    notes = [counted(len(facts.ledgers), "ledger") + " read"]
    if facts.refused:
        notes.append(f"{facts.refused:,} may be read by their merchants only")
    if not facts.is_complete:
        notes.append("not all: `hitmesh ledger` reads all")
    return Verdict(", ".join(notes), findings)


def _ledger(facts: SiteLedger, limits: Limits) -> Iterator[Finding]:
    site = short_site_name(facts.site)
    if facts.imbalance:
        evidence = f"GetLedger: imbalance {facts.imbalance:,}"
        cause = f"the ledger of {site} is out of balance by {counted(facts.imbalance, 'hit')}"
        yield kinds.LEDGER_IMBALANCE.about(f"ledger of {site}", cause, evidence, site=site)
    if facts.unread_hits and facts.unread_s > limits.unread_s:
        evidence = f"GetLedger: {facts.unread_hits:,} unread hits, the oldest for {facts.unread_s:,.0f} s"
        cause = f"hits of {site} are unread for longer than {limits.unread_s:g} s"
        yield kinds.HITS_UNREAD.about(f"ledger of {site}", cause, evidence, site=site)


def judge_history(facts: HistoryFacts, _: Limits) -> Verdict:
    """Judge the settled days whose stored values were compared with the ledger."""
    part = "" if facts.is_complete else " so far; `hitmesh reprocess check` checks all"
    summary = f"{counted(facts.site_days, 'site-day')} with {counted(facts.hits, 'hit')} compared{part}"
    return Verdict(summary, [_damage(each) for each in facts.damaged])


def _damage(facts: DamagedDay) -> Finding:
    site = short_site_name(facts.site)
    kind = kinds.DAY_LOST if facts.is_beyond_repair else kinds.DAY_DAMAGED
    cause = f"{facts.utc_date} of {site}: stored values do not add up"
    return kind.about(
        f"{site} {facts.utc_date}", cause, f"CheckHistory: {facts.differences}", site=site, utc_date=facts.utc_date
    )
