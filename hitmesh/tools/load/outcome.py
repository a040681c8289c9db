"""The results of a run: the numbers that `hitmesh load` prints, as JSON and as text. Pure.

A run is good if the ledger balances, every total is as expected, no hit was refused and every probe was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hitmesh.tools.load.expected import Difference
from hitmesh.tools.load.figures import Spread, per_second
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.processes import Usage
from hitmesh.tools.load.tally import Progress

MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Probes:
    """The numbers of probe hits, and the freshness that the probes measured.

    Attributes:
        sent: acknowledged probes. failed: probes that were refused or not answered.
        missing: acknowledged probes that no report has shown.
        freshness_s: seconds from the acknowledgement to the first report with the probe.
    """

    sent: int
    failed: int
    missing: int
    freshness_s: Spread


@dataclass(frozen=True, slots=True)
class Check:
    """The result of comparing the mesh's numbers with the sent hits.

    Attributes:
        sites: number of compared sites.
        omitted: the totals that were not compared, each with the reason.
        differences: totals that differ from the expected values.
        imbalances: for each site whose ledger does not balance, the imbalance as a number of hits.
    """

    sites: int
    omitted: Mapping[str, str]
    differences: Sequence[Difference]
    imbalances: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a finished run.

    Times are in seconds. If `processes` is empty, `processes_omitted` has the reason.
    """

    run: str
    plan: LoadPlan
    streams: int
    hits: Progress
    refusals: Sequence[str]
    acknowledged_in_s: float
    visible_in_s: float
    latency_s: Spread
    delay_s: Spread
    probes: Probes
    lag_s: Spread
    processes: Sequence[Usage]
    processes_omitted: str
    check: Check

    @property
    def problems(self) -> list[str]:
        """The problems as text; empty if the run is good."""
        found = []
        if self.check.imbalances:
            found.append(f"the ledger of {len(self.check.imbalances)} sites does not balance: see `hitmesh ledger`")
        if self.check.differences:
            found.append(f"{len(self.check.differences)} totals in reports differ from the hits that were sent")
        if self.hits.rejected:
            found.append(f"{self.hits.rejected:,} hits were refused: {self.refusals[0] if self.refusals else ''}")
        if self.probes.missing or self.probes.failed:
            found.append(
                f"{self.probes.missing} probe hits did not appear in a report; {self.probes.failed} were not accepted"
            )
        return found

    @property
    def rates(self) -> dict[str, float]:
        """Hits per second: offered, acknowledged and visible.

        The acknowledged rate is the acknowledged hits divided by the time until the last acknowledgement. The visible
        rate is the acknowledged hits divided by the time until reports show all hits.
        """
        sent = self.hits.acknowledged
        return {
            "offered_per_s": per_second(self.hits.offered, self.plan.duration_s),
            "acknowledged_per_s": per_second(sent, self.acknowledged_in_s),
            "visible_per_s": per_second(sent, self.visible_in_s),
        }

    def as_json(self) -> dict[str, Any]:
        """Return the fields for scripts; docs/load.md describes each field."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "run": {
                "id": self.run,
                **asdict(self.plan),
                "out_of_order_percent": self.plan.offered_out_of_order_percent,
                "frame_hits": self.plan.frame_hits,
                "streams": self.streams,
            },
            "hits": asdict(self.hits),
            "rates": {name: round(rate, 1) for name, rate in self.rates.items()},
            "ack_latency_s": self.latency_s.as_json(4),
            "send_delay_s": self.delay_s.as_json(4),
            "freshness_s": {
                "probes": self.probes.sent,
                "failed": self.probes.failed,
                "missing": self.probes.missing,
                **self.probes.freshness_s.as_json(3),
            },
            "lag_s": self.lag_s.as_json(3),
            "processes": [self._usage(process) for process in self.processes],
            "processes_omitted": self.processes_omitted,
            "ledger": {"balanced": not self.check.imbalances, "imbalances": dict(self.check.imbalances)},
            "comparison": {
                "equal": not self.check.differences,
                "sites": self.check.sites,
                "omitted": dict(self.check.omitted),
                "differences": [asdict(difference) for difference in self.check.differences],
            },
        }

    def as_rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of the result table: pairs of name and value."""
        hits, rates = self.hits, self.rates
        yield "offered", f"{hits.offered:,} hits  {rates['offered_per_s']:,.0f}/s"
        if hits.shed:
            yield "not sent", f"{hits.shed:,} hits, because too many bytes were already waiting to be sent"
        yield "acknowledged", f"{hits.acknowledged:,} hits  {rates['acknowledged_per_s']:,.0f}/s"
        if hits.rejected or hits.resent:
            yield "refused, resent", f"{hits.rejected:,} {hits.resent:,} hits"
        yield "visible", f"{rates['visible_per_s']:,.0f}/s; all hits were visible after {self.visible_in_s:,.1f} s"
        yield "ack latency", _spread(self.latency_s, 1_000, "ms")
        yield "sent late by", _spread(self.delay_s, 1_000, "ms")
        yield "freshness", f"{_spread(self.probes.freshness_s, 1, 's')}  ({self.probes.sent} probes)"
        yield "lag", _spread(self.lag_s, 1, "s")
        for process in self.processes:
            usage = self._usage(process)
            yield f"  {process.name}", f"{usage['cpu_cores']:.2f} cores  {usage['max_rss_mib']:,.0f} MiB"
        if self.processes_omitted:
            yield "processes", self.processes_omitted
        yield "ledger", "balanced" if not self.check.imbalances else f"NOT balanced: {dict(self.check.imbalances)}"
        yield "comparison", f"{self.check.sites} sites, {len(self.check.differences)} totals differ"
        for check, reason in self.check.omitted.items():
            yield f"  without {check}", reason
        for wrong in self.check.differences[:MAX_LISTED]:
            yield f"  {wrong.site}", f"{wrong.metric}: expected {wrong.expected:,}, reported {wrong.reported:,}"

    def _usage(self, process: Usage) -> dict[str, Any]:
        return {
            "name": process.name,
            "pid": process.pid,
            "cpu_s": round(process.cpu_s, 2),
            "cpu_cores": round(per_second(process.cpu_s, self.visible_in_s), 3),
            "cpu_us_per_hit": round(process.cpu_s * 1e6 / max(1, self.hits.acknowledged), 2),
            "max_rss_mib": round(process.max_rss_mib, 1),
        }


def _spread(spread: Spread, factor: float, unit: str) -> str:
    if spread.p50 is None or spread.p99 is None or spread.max is None:
        return "nothing was measured"
    return (
        f"p50 {spread.p50 * factor:,.1f} {unit}  p99 {spread.p99 * factor:,.1f} {unit}  "
        f"max {spread.max * factor:,.1f} {unit}"
    )
