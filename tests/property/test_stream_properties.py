"""The live stream equals the reference and keeps the invariants in rules.md §10, also after any crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from hitmesh.model.errors import CommitInDoubt, Fenced
from hitmesh.model.logic import CURRENT, LOGICS, Logic
from hitmesh.model.positions import PartitionId, Topic
from hitmesh.model.zones import DAY_MS
from processor.building import stream_stores
from processor.stream.live.limits import PRODUCTION, Limits
from reporter.answer.freshness import State, Waiting, freshness
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.generate.strategies import MIDNIGHT_MS, policies, ref_hits
from tests.reference.hits import RefHit
from tests.reference.settled import settle
from tests.reference.streamed import drift, stream
from tests.reference.visits import V1, RefPolicy
from tests.support.examples import examples
from tests.support.live_faults import Fuse, Killed, fused
from tests.support.live_mesh import FOLDING, SMALLEST, LiveMesh, partition_of
from tests.support.live_rows import classes_by_day, expected_classes, ledger_faults, series_faults, waiting_by_day
from tests.support.small_mesh import Rows, expected_rows, folded_rows, policy_under

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
START = MIDNIGHT_MS - HOUR
"""A time before the earliest hit."""
SEEDS = st.integers(0, 2**16)
LIMITS = st.sampled_from([SMALLEST, PRODUCTION])
ANY_LOGIC = st.sampled_from(LOGICS)
ALL_LIMITS = st.sampled_from([FOLDING, SMALLEST, PRODUCTION])
MAX_HITS = 40
DAY = 24 * HOUR
FEW = examples(4)
FEWER = examples(3)
"""Settings with few examples, for properties that start many runners or settle several days."""

ON_TIME_MS = (0, 0, 0, 1, SECOND, 5 * MINUTE, 29 * MINUTE, 40 * MINUTE)
ANY_MS = (
    *ON_TIME_MS,
    HOUR - 1,
    HOUR,
    HOUR + 1,
    89 * MINUTE,
    91 * MINUTE,
    5 * HOUR,
    26 * HOUR,
    26 * HOUR + 1,
    49 * HOUR,
    51 * HOUR,
)
AGAIN_MS = (0, 3 * SECOND, 40 * MINUTE)
SLICE_MS = 20 * MINUTE
BEAT_MS = 6 * HOUR  # heartbeats are rare, because the hits of an example may lie weeks apart


@st.composite
def stream_hits(draw: st.DrawFn, *, unique_ids: bool = False, unique_orders: bool = False) -> list[RefHit]:
    """Draw hits. No two visitors share an order or refund, because either partition may be processed first (P1)."""
    hits = draw(ref_hits(MAX_HITS, unique_ids=unique_ids, unique_orders=unique_orders))
    return [
        replace(
            hit,
            order_id=hit.order_id and f"{hit.order_id} of {hit.visitor}",
            refund_id=hit.refund_id and f"{hit.refund_id} of {hit.visitor}",
        )
        for hit in hits
    ]


def whole_refunds(hits: Sequence[RefHit]) -> set[tuple[str, int]]:
    """Return the site-days with a refund of a whole order. Only settlement determines the refunded amount (D3, P2)."""
    return {(hit.site, hit.event_time // DAY_MS) for hit in hits if hit.type == "REFUND" and not hit.refund_micros}


def with_delays(hits: Sequence[RefHit], dice: Random, delays_ms: Sequence[int]) -> list[Arrival]:
    """Return the hits with random delays in the order of arrival. Equal times keep a random order."""
    sent = [Arrival(hit.event_time + dice.choice(delays_ms), hit) for hit in hits]
    dice.shuffle(sent)
    return sorted(sent, key=lambda arrival: arrival.at_ms)


def in_order(hits: Sequence[RefHit]) -> list[Arrival]:
    return [Arrival(hit.event_time, hit) for hit in sorted(hits, key=lambda hit: (hit.event_time, hit.hit_hash))]


class Stream(LiveMesh):
    """A mesh to which hits are appended without a collector. Leaving the context removes its files.

    Args:
        policy: visit policy of all sites. `self.policy` combines the visit policy with `logic`.
        url: store URL, in which HOME stands for a temporary directory.
        limits: limits for the runners.
        logic: version of the logic.
    """

    def __init__(
        self,
        policy: RefPolicy = V1,
        url: str = "memory:",
        limits: Limits = PRODUCTION,
        logic: Logic = CURRENT,
    ) -> None:
        self.policy = policy_under(logic, policy)
        self._files = TemporaryDirectory()
        home = Path(self._files.name)
        super().__init__(url.replace("HOME", self._files.name), home, START, SITES, policy, limits=limits, logic=logic)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._files.cleanup()

    def arrive(self, part: Sequence[Arrival]) -> None:
        """Append one record with the arrived hits to each partition, at the arrival time of the last hit."""
        self.advance_to(max(self.clock.now(), part[-1].at_ms), BEAT_MS)
        for partition in range(self.stores.log.partitions(Topic.HITS)):
            self.append([arrival.hit for arrival in part if partition_of(arrival.hit) == partition], partition)

    def feed(self, sent: Sequence[Arrival], dice: Random) -> None:
        """Send all hits in records of random size, and run the stream after some of them."""
        for part in in_slices(sent, dice.randint(1, 20), SLICE_MS):
            self.arrive(part)
            if dice.random() < 0.7:
                self.step()

    def step_and_fail(self, dice: Random) -> str:
        """Let a new runner take over the stream, process the log, and save snapshots until a write fails.

        Return the failed write, or "" if none failed.
        """
        fuse = a_fuse(dice)
        with suppress(Killed, CommitInDoubt):
            self.runner = self.a_runner(fused(stream_stores(self.stores), fuse))
            self.step()
            self.runner.flush()
            self.runner.snapshot()
            return ""
        return fuse.blown

    def feed_through_crashes(self, sent: Sequence[Arrival], dice: Random) -> None:
        """Send all hits. A new runner takes over after each failed write and at the end."""
        for part in in_slices(sent, dice.randint(1, 20), SLICE_MS):
            self.arrive(part)
            failed = self.step_and_fail(dice)
            if failed:
                self.crash()
            event(failed or "nowhere")  # --hypothesis-show-statistics shows the failed writes
        self.crash()

    def check(self) -> None:
        """Check that the stream equals the reference at this moment, and that the ledger contains every hit (P12)."""
        self.idle(beat_ms=BEAT_MS)
        self.runner.flush()
        entries = self.stores.ledger.read(None)
        assert ledger_faults(entries) == []
        for site in SITES:
            texts, kept = self.limits.texts_per_hour, self.limits.kept_of_visitor
            expected = stream(self.logged[site], self.clock.now(), self.policy, texts, kept)
            assert self.seen(site).differences_from(folded_rows(expected.entries)) == []
            assert waiting_by_day(entries, site) == Counter(hit.event_time // DAY for hit in expected.waiting)
            assert classes_by_day(entries, site) == expected_classes(expected)


def all_rows(mesh: Stream) -> Rows:
    """Return all rows without the numbers of copies and visitors."""
    return {
        key: kept
        for site in SITES
        for key, row in mesh.seen(site).rows.items()
        if (kept := {name: value for name, value in row.items() if name not in ("duplicate_hits", "visitors")})
    }


@pytest.mark.timeout(300)
@FEW
@given(stream_hits(), policies(), SEEDS, ALL_LIMITS, ANY_LOGIC)
def test_net_rows_are_those_of_the_reference_at_any_time(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits, logic: Logic
) -> None:
    with Stream(policy, limits=limits, logic=logic) as mesh:
        check_at_any_time(mesh, hits, seed)


@pytest.mark.timeout(300)
@examples(2)
@given(stream_hits(), SEEDS)
def test_net_rows_of_the_embedded_store_are_those_of_the_reference(hits: list[RefHit], seed: int) -> None:
    with Stream(url="embedded:HOME/data", limits=SMALLEST) as mesh:
        check_at_any_time(mesh, hits, seed)


def check_at_any_time(mesh: Stream, hits: list[RefHit], seed: int) -> None:
    """Compare rows with the reference after some hits, after all hits, and after all visits have ended."""
    dice = Random(seed)
    sent = with_delays(hits, dice, ANY_MS)
    cut = dice.randint(0, len(sent))
    mesh.feed(sent[:cut], dice)
    mesh.check()
    mesh.feed(sent[cut:], dice)
    mesh.check()
    mesh.idle(31 * MINUTE)
    mesh.check()
    assert mesh.published() == set()


@pytest.mark.timeout(300)
@FEWER
@given(stream_hits(unique_ids=True, unique_orders=True), policies(), SEEDS, LIMITS)
def test_permutation_duplication_and_batching_change_no_row(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits
) -> None:
    dice = Random(seed)
    again = [
        Arrival(arrival.at_ms + dice.choice(AGAIN_MS), arrival.hit) for arrival in with_delays(hits, dice, ON_TIME_MS)
    ]
    other = sorted([*with_delays(hits, dice, ON_TIME_MS), *again[::2]], key=lambda arrival: arrival.at_ms)
    with Stream(policy, limits=SMALLEST) as plain, Stream(policy, limits=limits) as changed:
        plain.feed(in_order(hits), dice)
        changed.feed([arrival for arrival in other if arrival.at_ms - arrival.hit.event_time <= 40 * MINUTE], dice)
        for mesh in (plain, changed):
            mesh.idle(HOUR)
        assert all_rows(plain) == all_rows(changed)


@pytest.mark.timeout(300)
@FEWER
@given(stream_hits(unique_ids=True), policies(), SEEDS, LIMITS, ANY_LOGIC)
def test_hits_on_time_are_settled_as_they_were_streamed(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits, logic: Logic
) -> None:
    dice = Random(seed)
    with Stream(policy, limits=limits, logic=logic) as mesh:
        mesh.feed(with_delays(hits, dice, ON_TIME_MS) if seed % 2 else in_order(hits), dice)
        mesh.idle(HOUR)
        before = {site: mesh.seen(site) for site in SITES}
        mesh.settle()
        for site in SITES:
            waits = {day for (of, day) in whole_refunds(mesh.logged[site]) if of == site}
            if not waits:
                assert before[site].changed(mesh.seen(site)) == set()
            for (_, day), day_drift in mesh.stores.generations.drifts(site, 0, 10**6).items():
                assert day_drift.measures == {}
                if day not in waits:
                    assert not day_drift.rows_differ
                    assert day_drift.confirmed == (not day_drift.sketch_provisional)


@pytest.mark.timeout(300)
@FEWER
@given(stream_hits(), policies(), SEEDS, ALL_LIMITS, ANY_LOGIC)
def test_drift_is_the_effect_of_what_came_late(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits, logic: Logic
) -> None:
    dice = Random(seed)
    with Stream(policy, limits=limits, logic=logic) as mesh:
        mesh.feed(with_delays(hits, dice, ANY_MS), dice)
        mesh.idle(HOUR)
        mesh.settle()
        for site in SITES:
            logged = mesh.logged[site]
            assert mesh.seen(site).differences_from(expected_rows(logged, mesh.policy)) == []
            expected = drift(settle(logged, mesh.policy), stream(logged, policy=mesh.policy))
            found = mesh.stores.generations.drifts(site, 0, 10**6)
            assert {tuple(day): dict(day_drift.measures) for day, day_drift in found.items() if day_drift.measures} == {
                day: row for day, row in expected.items() if day in {tuple(known) for known in found}
            }


@pytest.mark.timeout(300)
@examples(2)
@given(stream_hits(), policies(), SEEDS, ALL_LIMITS)
def test_a_crash_at_any_write_changes_no_row(hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits) -> None:
    dice = Random(seed)
    with Stream(policy, limits=limits) as mesh:
        mesh.feed_through_crashes(with_delays(hits, dice, ANY_MS), dice)
        mesh.check()


def a_fuse(dice: Random) -> Fuse:
    """Return a fuse that causes a crash before or after a random write, or a commit with unknown outcome."""
    if dice.random() < 0.3:
        return Fuse(
            dice.randint(0, 1), lambda: CommitInDoubt("it may be", retry_after_s=0.0), frozenset({"transaction"})
        )
    return Fuse(dice.randint(0, 40))


@pytest.mark.timeout(300)
@FEWER
@given(stream_hits(), policies(), SEEDS, ALL_LIMITS, ANY_LOGIC)
def test_replay_from_a_snapshot_anywhere_changes_no_row(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits, logic: Logic
) -> None:
    dice = Random(seed)
    with Stream(policy, limits=limits, logic=logic) as mesh:
        for part in in_slices(with_delays(hits, dice, ANY_MS), dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            mesh.step()
            if dice.random() < 0.3:
                mesh.runner.snapshot()
            if dice.random() < 0.3:
                mesh.crash()
        mesh.check()


@pytest.mark.timeout(300)
@examples(2)
@given(stream_hits(), policies(), SEEDS, LIMITS)
def test_change_of_the_logic_anywhere_keeps_series_rows_and_ledger_equal(
    hits: list[RefHit], policy: RefPolicy, seed: int, limits: Limits
) -> None:
    """The stream's logic changes after a stop, which saves snapshots, or after a crash.

    The settler keeps its version of the logic.
    """
    dice = Random(seed)
    with Stream(policy, limits=limits) as mesh:
        mesh.runner.snapshot()
        for part in in_slices(with_delays(hits, dice, ANY_MS), dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            mesh.step()
            if dice.random() < 0.4:
                if dice.random() < 0.5:
                    mesh.runner.snapshot()
                mesh.logic = dice.choice(LOGICS)
                mesh.crash()
        mesh.idle(HOUR, BEAT_MS)
        mesh.runner.flush()
        assert ledger_faults(mesh.stores.ledger.read(None)) == []
        for site in SITES:
            assert series_faults(mesh.stores, site) == []
        mesh.settle()
        for site in SITES:
            assert mesh.seen(site).differences_from(expected_rows(mesh.logged[site], mesh.policy)) == []


@pytest.mark.timeout(300)
@FEWER
@given(stream_hits(), SEEDS)
def test_processor_that_was_taken_over_writes_no_more(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    sent = with_delays(hits, dice, ANY_MS)
    cut = dice.randint(0, len(sent))
    with Stream() as mesh:
        mesh.feed(sent[:cut], dice)
        zombie = mesh.crash()
        for part in in_slices(sent[cut:], 20, SLICE_MS):
            mesh.arrive(part)
            with pytest.raises(Fenced):
                zombie.step(0.0)
        mesh.check()


@pytest.mark.timeout(300)
@FEW
@given(stream_hits(unique_ids=True), SEEDS)
def test_a_live_answer_holds_every_hit_acknowledged_before_it(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    with Stream() as mesh:
        for part in in_slices(with_delays(hits, dice, ON_TIME_MS), dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            if dice.random() < 0.5:
                mesh.beat()
            if dice.random() < 0.5:
                mesh.step()
            for name in SITES:
                check_complete(mesh, name)


def check_complete(mesh: Stream, name: str) -> None:
    """Check that a live answer contains every committed hit (P15).

    The check reads the stores in the reporter's order: progress, then the days that wait for settlement, then rows.
    """
    stores = mesh.stores
    progress = stores.progress.progress(Topic.HITS)
    waiting = Waiting(stores.dirty.pending(name), stores.dirty.awaited(name))
    site = stores.directory.site(name)
    assert site is not None
    fresh = freshness([site], progress, {name: waiting}, mesh.clock.now())
    committed = 0
    for hit in mesh.logged[name]:
        log_time, log, partition, offset, _ = hit.position
        is_committed = offset < progress[PartitionId(log, partition)].next_offset
        committed += is_committed
        assert is_committed or fresh.state is not State.LIVE or log_time >= fresh.complete_through
    assert sum(row.get("hits", 0) for key, row in mesh.seen(name).rows.items() if key[1]) == committed
