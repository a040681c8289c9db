"""Test the send window with a model of a collector. Acks, credits, refusals and lost streams come in any order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.client.patience import Patience
from hitmesh.client.send_window import SendWindow
from tests.support.parcels import Parcel, ack, credit, go_away, ready, rejected, retry

PATIENCE = Patience(attempts=3, first_s=0.5, stall_s=60.0)
FATES = st.sampled_from(["accept", "accept", "reject", "retry"])


@dataclass
class Stream:
    """The collector's state of a stream: arrived batches, granted credit, and freed bytes not yet granted as credit."""

    due: int
    room: int
    credit: int
    unacked: list[tuple[int, Parcel, int]] = field(default_factory=list)
    freed: int = 0

    @property
    def unacked_bytes(self) -> int:
        return sum(size for _, _, size in self.unacked)


class Sending(RuleBasedStateMachine):
    """A state machine in which hits are numbers.

    In the end, each hit must be in exactly one of the lists `accepted`, `rejected` and `given_up`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.window: SendWindow[Parcel] = SendWindow(PATIENCE)
        self.now_s = 0.0
        self.hits = 0
        self.accepted: list[int] = []
        self.rejected: list[int] = []
        self.given_up: list[int] = []
        self.counted = [0, 0]
        self.acked_through = 0
        self.stream = Stream(1, 0, 0)

    @initialize(credit_bytes=st.integers(1, 120))
    def open(self, credit_bytes: int) -> None:
        resume_from = self.window.reopen(self.now_s)
        assert resume_from == self.acked_through
        self.stream = Stream(resume_from + 1, credit_bytes, credit_bytes)
        self.window.respond(ready(credit_bytes), self.now_s)

    @rule(hits=st.integers(1, 6))
    def add(self, hits: int) -> None:
        self.window.add(Parcel(f"b{self.hits}", tuple(range(self.hits, self.hits + hits))))
        self.hits += hits

    @rule(most=st.integers(1, 5))
    def send(self, most: int) -> None:
        for _ in range(most):
            head = self.window.head(self.now_s)
            if head is None or not self.window.fits(size := head.size + len(str(self.window.next_number))):
                return
            number = self.window.next_number
            self.window.take(size, self.now_s)
            assert number == self.stream.due
            assert size <= self.stream.room or (not self.stream.unacked and size > self.stream.credit)
            self.stream.due += 1
            self.stream.room -= size
            self.stream.unacked.append((number, head, size))

    @precondition(lambda self: self.stream.unacked)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        batches = data.draw(st.integers(1, len(self.stream.unacked)))
        fates = [
            data.draw(st.lists(FATES, min_size=parcel.hits, max_size=parcel.hits))
            for _, parcel, _ in self.stream.unacked[:batches]
        ]
        self.acknowledge_as(fates, is_split=data.draw(st.booleans()))

    def acknowledge_as(self, fates: list[list[str]], *, is_split: bool = False) -> None:
        done, self.stream.unacked = self.stream.unacked[: len(fates)], self.stream.unacked[len(fates) :]
        issues: list[pb.HitIssue] = []
        for (number, _, _), batch_fates in zip(done, fates, strict=True):
            for index, fate in enumerate(batch_fates):
                if fate != "accept":
                    issues.append(rejected(number, index) if fate == "reject" else retry(number, index))
        if is_split:
            assert self.window.respond(ack(self.acked_through, *issues), self.now_s) == []
            issues = []
        self.acked_through = done[-1][0]
        settled = self.window.respond(ack(self.acked_through, *issues), self.now_s)
        assert [outcome.batch for outcome in settled] == [parcel for _, parcel, _ in done]
        for outcome, batch_fates in zip(settled, fates, strict=True):
            for hit, fate in zip(outcome.batch.members, batch_fates, strict=True):
                if fate == "accept":
                    self.accepted.append(hit)
                elif fate == "reject":
                    self.rejected.append(hit)
                elif outcome.given_up:
                    self.given_up.append(hit)
            self.counted[0] += outcome.accepted
            self.counted[1] += outcome.rejected
        self.stream.freed += sum(size for _, _, size in done)

    @precondition(lambda self: self.stream.freed)
    @rule(share=st.integers(1, 3))
    def grant(self, share: int) -> None:
        granted = -(-self.stream.freed // share)
        self.stream.freed -= granted
        self.stream.room += granted
        self.window.respond(credit(granted), self.now_s)

    @rule(drain_ms=st.integers(0, 5_000))
    def ask_to_leave(self, drain_ms: int) -> None:
        self.window.respond(go_away(drain_ms), self.now_s)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.window.break_off(self.now_s)

    @rule(credit_bytes=st.integers(1, 120))
    def break_and_reopen(self, credit_bytes: int) -> None:
        self.open(credit_bytes)

    @invariant()
    def each_hit_has_one_fate_and_the_outcomes_count_them(self) -> None:
        settled = [*self.accepted, *self.rejected, *self.given_up]
        assert len(settled) == len(set(settled))
        assert self.counted == [len(self.accepted), len(self.rejected)]

    @invariant()
    def window_holds_exactly_the_unsettled_batches(self) -> None:
        in_flight = sum(parcel.size for _, parcel, _ in self.stream.unacked)
        unsettled = self.hits - len(self.accepted) - len(self.rejected) - len(self.given_up)
        assert self.window.queued_bytes + in_flight == 10 * unsettled
        assert self.stream.unacked_bytes <= self.stream.credit or len(self.stream.unacked) == 1

    def teardown(self) -> None:
        """Check that every batch gets an outcome if the collector accepts all hits from now on."""
        for _ in range(PATIENCE.attempts + 1):
            self.now_s += 10.0
            self.open(10_000)
            self.send(self.hits)
            if self.stream.unacked:
                self.acknowledge_as([["accept"] * parcel.hits for _, parcel, _ in self.stream.unacked])
        assert self.window.is_idle
        assert sorted([*self.accepted, *self.rejected, *self.given_up]) == list(range(self.hits))


TestSending = Sending.TestCase
