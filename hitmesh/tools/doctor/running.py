"""Runs checks side by side, each within its deadline.

A check that does not end in time is a finding that names what the check waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from hitmesh.model.errors import HitmeshError
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.findings import CheckResult, Diagnosis, Finding, Kind, Skipped, Status, Verdict
from hitmesh.tools.doctor.limits import Limits
from hitmesh.tools.doctor.place import Place

FactsT = TypeVar("FactsT")

DOOR: Final = "door"
_MAX_ERROR: Final = 300
# A check's calls must end before the check counts as hanging, because their errors are more precise.
_CALLS_SHARE: Final = 0.9


class Needs(StrEnum):
    """What a check needs, so that a single cause does not become many findings."""

    NOTHING = "nothing"
    MESH = "a front door that answers"
    SERVERS = "a store URL of servers"
    FILES = "embedded stores"


class Watch:
    """Tells the runner what a check waits for, and tells the check how much time is left."""

    def __init__(self, deadline_s: float) -> None:
        self.waits_for = "the start of the check"
        self._ends_s = time.monotonic() + deadline_s

    def on(self, what: str) -> None:
        """Note that the check now waits for `what`, such as `Kafka at 127.0.0.1:9092`."""
        self.waits_for = what

    def left_s(self, most_s: float = float("inf")) -> float:
        """Return the seconds until the deadline, between 0.1 and `most_s`."""
        return max(0.1, min(most_s, self._ends_s - time.monotonic()))

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._ends_s


@dataclass(frozen=True)
class Check(Generic[FactsT]):
    """A check.

    Attributes:
        name: stable name in the output.
        question: what the check finds out, as a question.
        why: why the answer matters.
        deadline_s: the check must end within this time.
        needs: what must be there before the check can run.
        kinds: the kinds of findings, apart from NO_ANSWER, which every check may have.
        gather: returns the facts, or the reason why there are none.
        judge: the pure function that turns facts into findings.
    """

    name: str
    question: str
    why: str
    deadline_s: float
    needs: Needs
    kinds: Sequence[Kind]
    gather: Callable[[Place, Watch], FactsT | Skipped] = field(repr=False)
    judge: Callable[[FactsT, Limits], Verdict] = field(repr=False)


def diagnose(place: Place, checks: Sequence[Check[Any]], *, at_most_s: float = float("inf")) -> Diagnosis:
    """Run all checks, and return the results in the order of `checks`.

    The check named `door` runs first, because checks that need the mesh would otherwise all report the same cause. All
    other checks then run side by side.

    Args:
        place: the mesh.
        checks: the checks.
        at_most_s: longest deadline of a check, in seconds.
    """
    began_ms, began_s = place.clock.now(), time.monotonic()
    first = {check.name: _started(check, place, at_most_s) for check in checks if check.name == DOOR}
    results = {name: await_result() for name, await_result in first.items()}
    is_open = all(result.status is Status.OK for result in results.values())
    rest = [check for check in checks if check.name != DOOR]
    why_not = {check.name: _why_not(check, place, is_open=is_open) for check in rest}
    running = {check.name: _started(check, place, at_most_s) for check in rest if not why_not[check.name]}
    for check in rest:
        reason = why_not[check.name]
        results[check.name] = (
            CheckResult(check.name, Status.SKIPPED, reason, (), 0.0) if reason else running[check.name]()
        )
    return Diagnosis([results[check.name] for check in checks], began_ms, time.monotonic() - began_s)


def _why_not(check: Check[Any], place: Place, *, is_open: bool) -> str:
    """Return why a check cannot run; "" if it can."""
    match check.needs:
        case Needs.MESH if not is_open:
            return "the front door does not answer: see the finding of the check door"
        case Needs.SERVERS if not place.is_on_servers:
            return "the mesh has no servers" if place.store else "no store URL is known: give --backend"
        case Needs.FILES if place.data is None:
            return "the mesh has no embedded stores"
    return ""


def _started(check: Check[Any], place: Place, at_most_s: float) -> Callable[[], CheckResult]:
    """Start a check in a thread, and return a function that waits for the result until the deadline."""
    deadline_s = min(check.deadline_s, at_most_s)
    watch = Watch(_CALLS_SHARE * deadline_s)
    results: SimpleQueue[CheckResult] = SimpleQueue()
    began_s = time.monotonic()
    # A daemon thread, because a check that hangs must not keep the process alive.
    threading.Thread(
        target=lambda: results.put(_result(check, place, watch)), name=f"check-{check.name}", daemon=True
    ).start()

    def wait() -> CheckResult:
        try:
            return results.get(timeout=max(0.0, began_s + deadline_s - time.monotonic()))
        except Empty:
            cause = f"{watch.waits_for} does not answer"
            evidence = f"no answer within {deadline_s:g} s"
            return _unanswered(check, cause, evidence, time.monotonic() - began_s)

    return wait


def _result(check: Check[Any], place: Place, watch: Watch) -> CheckResult:
    began_s = time.monotonic()
    try:
        facts = check.gather(place, watch)
        if isinstance(facts, Skipped):
            return CheckResult(check.name, Status.SKIPPED, facts.why, (), time.monotonic() - began_s)
        verdict = check.judge(facts, place.limits)
    except Exception as error:  # every error of a check becomes a finding, and the other checks go on
        cause = f"{watch.waits_for} does not answer as expected"
        return _unanswered(check, cause, text_of(error), time.monotonic() - began_s)
    status = Status.PROBLEM if verdict.findings else Status.OK
    return CheckResult(check.name, status, verdict.summary, tuple(verdict.findings), time.monotonic() - began_s)


def _unanswered(check: Check[Any], cause: str, evidence: str, duration_s: float) -> CheckResult:
    kind = kinds.STORE_NO_ANSWER if check.needs is Needs.SERVERS else kinds.NO_ANSWER
    finding: Finding = kind.about(f"check {check.name}", cause, evidence)
    return CheckResult(check.name, Status.PROBLEM, cause, (finding,), duration_s)


def text_of(error: BaseException) -> str:
    """Return a short text about an error, without line breaks."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):  # grpc.RpcError, without an import of grpc
        status = getattr(code(), "name", "")
        text = f"{status}: {details()}"
    elif isinstance(error, HitmeshError):
        text = error.message
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_MAX_ERROR]
