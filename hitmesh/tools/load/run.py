"""A run of `hitmesh load`, from creating sites to comparing the reports with the sent hits.

This module decides the order of the steps, the start time and the time-outs. Other modules implement the steps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.client.mesh import Mesh
from hitmesh.client.visibility import Wait, wait_until_visible
from hitmesh.tools.load import questions
from hitmesh.tools.load.comparing import Comparer
from hitmesh.tools.load.expected import Expected
from hitmesh.tools.load.figures import Spread
from hitmesh.tools.load.open_loop import OpenLoop
from hitmesh.tools.load.outcome import Outcome, Probes
from hitmesh.tools.load.plan import PROBE_SITE, LoadPlan, site_name
from hitmesh.tools.load.policies import not_predicted
from hitmesh.tools.load.probe import Prober
from hitmesh.tools.load.processes import ProcessWatch, mesh_pids
from hitmesh.tools.load.producer import Producer
from hitmesh.tools.load.questions import SiteKey
from hitmesh.tools.load.show import Live, Show
from hitmesh.tools.load.stream import FrameStream
from hitmesh.tools.load.tally import Tally
from hitmesh.tools.load.traffic import LATE_MS, OUT_OF_ORDER_MS

# Time in ms from the moment at which the producer is ready to the first hit. Before the first hit, the producer encodes
# the first frames, and the run opens the streams.
LEAD_MS: Final = 2_000
# Maximum time in ms that opening the sites is assumed to take, when the last time of a visit is estimated.
OPENING_MS: Final = 3_600_000
LOOK_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The target of a run: the mesh at `address`. If the mesh is local, its files are in `home`."""

    address: str
    home: Path
    streams: int
    timeout_s: float


def run_load(plan: LoadPlan, options: LoadOptions, mesh: Mesh, show: Show) -> Outcome:
    """Send the hits of a plan, wait until every hit is visible, and compare the totals.

    Raises:
        NotVisibleYet: reports do not include every hit within the time-out.
        SendStopped: the collectors no longer accept hits.
        RefusedError: the merchant's key is missing, or a site has another currency.
        grpc.RpcError: the mesh refuses a request.
    """
    with ExitStack() as stack:
        return _Run(plan, options, mesh, show, stack).run()


class _Run:
    """The state of a run; resources are added to the exit stack as soon as they are created."""

    def __init__(self, plan: LoadPlan, options: LoadOptions, mesh: Mesh, show: Show, stack: ExitStack) -> None:
        self._plan = plan
        self._options = options
        self._mesh = mesh
        self._show = show
        self._stack = stack
        self._expected = Expected()
        self._lags_s: list[float] = []

    def run(self) -> Outcome:
        keys, probe_key = self._open_sites()
        producer = self._stack.enter_context(Producer(self._plan))
        comparer = Comparer(self._mesh, self._show, _now_ms() - LATE_MS[1], self._options.timeout_s)
        comparer.note_before([key.site for key in (*keys.values(), probe_key) if not key.is_new])
        producer.wait_ready()
        start_ms = _now_ms() + LEAD_MS
        start_s = time.monotonic() + LEAD_MS / 1_000
        producer.start({site: key.secret for site, key in keys.items()}, start_ms)
        tally = Tally(start_s)
        watch, processes_omitted = self._watch(producer)
        prober = Prober(self._mesh, probe_key, f"{start_ms:x}")
        self._send(producer, tally, watch, prober, start_s)
        visible_in_s = self._wait_visible(tally, watch) - start_s
        prober.stop(self._options.timeout_s)
        other = {site: key.policies for site, key in keys.items() if key.policies}
        visits = {site: counts for site, counts in producer.visits.items() if site not in other}
        wanted = {site_name(site): totals for site, totals in self._expected.totals(visits).items()}
        # If a probe failed, the mesh may have stored the probe nevertheless, so the probe hits are not compared.
        wanted[PROBE_SITE] = {} if prober.failed else {"hits": prober.sent}
        # The prober reads a report by page. The comparison reads totals from the series store, where a probe may
        # appear later than in the report. The comparison therefore also waits for the probes' offsets.
        offsets = {site_name(site): places for site, places in tally.offsets.items()} | {PROBE_SITE: prober.offsets}
        omitted = self._omitted(producer.visits, other)
        check = comparer.compare(wanted, offsets, tally.progress.resent, omitted=omitted)
        return Outcome(
            run=f"{start_ms:x}",
            plan=self._plan,
            streams=self._options.streams,
            hits=tally.progress,
            refusals=tally.refusals,
            acknowledged_in_s=tally.last_ack_s - start_s,
            visible_in_s=visible_in_s,
            latency_s=Spread.of(tally.latencies_s),
            delay_s=Spread.of(tally.delays_s),
            probes=Probes(prober.sent, prober.failed, prober.missing, Spread.of(prober.freshness_s)),
            lag_s=Spread.of(self._lags_s),
            processes=watch.usages(),
            processes_omitted=processes_omitted,
            check=check,
        )

    def _omitted(self, predicted: Collection[int], other_policies: Mapping[int, frozenset[str]]) -> dict[str, str]:
        if not self._expected.is_complete:
            return {"visits": "some hits that belong to visits were shed (not sent)"}
        reason = not_predicted(self._plan.used_sites, predicted, other_policies)
        return {"visits": reason} if reason else {}

    def _open_sites(self) -> tuple[dict[int, SiteKey], SiteKey]:
        used = self._plan.used_sites
        self._show.phase("opening sites", len(used))
        now_ms = _now_ms()
        keys: dict[int, SiteKey] = {}
        for site in used:
            keys[site] = self._open_site(site_name(site), now_ms)
            self._show.reached(len(keys))
        return keys, self._open_site(PROBE_SITE, now_ms)

    def _open_site(self, site: str, now_ms: int) -> SiteKey:
        first_ms, last_ms = now_ms - OUT_OF_ORDER_MS[1], now_ms + round(self._plan.duration_s * 1_000) + OPENING_MS
        key = questions.open_site(self._mesh, site, now_ms, first_ms, last_ms)
        self._stack.callback(questions.close_key, self._mesh, key)
        return key

    def _watch(self, producer: Producer) -> tuple[ProcessWatch, str]:
        pids, omitted = mesh_pids(self._options.home, self._options.address)
        return ProcessWatch({**pids, os.getpid(): "load", producer.pid: "load.producer"}), omitted

    def _send(self, producer: Producer, tally: Tally, watch: ProcessWatch, prober: Prober, start_s: float) -> None:
        """Send every frame, and block until each frame is answered or left out."""
        self._show.phase("sending", self._plan.total_hits)
        streams = [
            FrameStream(self._options.address, lambda answer: tally.answer(answer, time.monotonic()))
            for _ in range(self._options.streams)
        ]
        loop = OpenLoop(producer.frames(), streams, start_s=start_s, expected=self._expected, tally=tally)
        for stream in streams:
            self._stack.callback(stream.close)
            stream.start()
        self._stack.callback(loop.stop)
        self._stack.callback(prober.stop, 0.0)
        loop.start()
        prober.start()
        while not self._all_over(loop, streams):
            watch.look()
            for stream in streams:
                stream.look_after()
            waiting = sum(stream.waiting_bytes for stream in streams)
            self._show.sending(Live(time.monotonic() - start_s, tally.progress, waiting, self._look_at_lag()))

    def _all_over(self, loop: OpenLoop, streams: list[FrameStream]) -> bool:
        """Wait briefly.

        Returns whether every frame was either left out or sent and answered.

        Raises:
            Exception: the failure of a stream or of the schedule.
        """
        over = loop.wait(LOOK_EVERY_S) and all(stream.wait(LOOK_EVERY_S) for stream in streams)
        for failure in (loop.failure, *(stream.failure for stream in streams)):
            if failure is not None:
                raise failure
        return over

    def _look_at_lag(self) -> float | None:
        """Record and return the lag in seconds of the site with the most traffic."""
        lag_s = questions.lag_s(self._mesh, site_name(self._plan.used_sites[0]))
        if lag_s is not None:
            self._lags_s.append(lag_s)
        return lag_s

    def _wait_visible(self, tally: Tally, watch: ProcessWatch) -> float:
        """Wait until reports include every record; return the monotonic time at the end of the wait."""
        places = tally.last_of_partitions()
        self._show.phase("waiting for the reports", len(places))
        for done, (site, offsets) in enumerate(places.items(), 1):
            wait_until_visible(self._mesh, site_name(site), offsets, Wait(self._options.timeout_s))
            watch.look()
            self._show.reached(done)
        watch.look()
        return time.monotonic()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
