"""Decides whether a process is live, has started and is ready, from its loops and stores.

A loop or a check of a store reports to a `Pulse`. `Vitals` compares the times of the reports with limits. A question
about health costs a comparison per pulse, and waits for no loop, store or call.

A process is live if its loops turn. It has started once each loop has turned. It is ready if its loops turn, its stores
answer, and its state is recovered.

The rules against flapping: a single failure changes nothing, because a loop or a store must fail for longer than a
limit. A process that was not ready becomes ready again when all pulses have been well for `steady_s` without a break.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitmesh.model.errors import HitmeshError

STUCK_AFTER_S: Final = 15.0
SILENT_AFTER_S: Final = 5.0
STEADY_S: Final = 3.0
DEAD_AFTER_S: Final = 120.0
MAX_CAUSE: Final = 300
"""Maximum characters of a cause."""
_RECOVERS: Final = "recovers its state"
NOT_BEGUN: Final = "has not begun"


@dataclass(frozen=True, slots=True)
class VitalLimits:
    """The limits of a process's health. All times are in seconds.

    Attributes:
        stuck_after_s: the process is not ready if a loop has not turned for longer.
        silent_after_s: the process is not ready if a store has not answered for longer, or if a loop has failed for
            longer.
        steady_s: a process becomes ready again after all pulses were well for this time.
        dead_after_s: the process is not live if a loop has not turned for longer. The time must exceed the longest wait
            of a loop for a store.
    """

    stuck_after_s: float = STUCK_AFTER_S
    silent_after_s: float = SILENT_AFTER_S
    steady_s: float = STEADY_S
    dead_after_s: float = DEAD_AFTER_S


@dataclass(frozen=True, slots=True)
class Condition:
    """The health of a process at an instant.

    Attributes:
        live: whether every loop turns.
        started: whether every loop has turned since the start.
        ready: whether the process can take work.
        causes: why the process is not ready or not live; empty if all is well.
        recovers: whether the only cause is that loops recover their state, which may take minutes.
    """

    live: bool
    started: bool
    ready: bool
    causes: tuple[str, ...] = ()
    recovers: bool = False


class Pulse:
    """The reports of a loop, or of the checks of a store. Each report costs less than a microsecond. Thread-safe.

    Args:
        name: the subject of a cause, such as "the stream" or "Kafka".
        slack_s: additional time for each limit, for a loop whose turns take long.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, name: str, slack_s: float = 0.0, now_s: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.slack_s = slack_s
        self._now_s = now_s
        self.began_s = now_s()
        self.turned_s: float | None = None
        self.worked_s: float | None = None
        self.failed_s: float | None = None  # the first failure or recovery since the last completed work
        self.error = ""
        self.doing = ""

    def turn(self) -> None:
        """Report that the loop runs."""
        self.turned_s = self._now_s()

    def work(self) -> None:
        """Report that the loop has completed its work, or that the store has answered."""
        self.turned_s = self.worked_s = self._now_s()
        self.failed_s = None
        self.error = self.doing = ""

    def fail(self, error: BaseException) -> None:
        """Report that the loop runs, but that its work failed."""
        message = error.message if isinstance(error, HitmeshError) else str(error)
        self.error = (message or type(error).__name__)[:MAX_CAUSE]
        self._hinder()

    def recover(self) -> None:
        """Report that the loop recovers its state. The recovery ends with the next completed work.

        An earlier error is over, because the loop goes on.
        """
        self.error, self.doing = "", _RECOVERS
        self._hinder()

    def _hinder(self) -> None:
        self.turned_s = self._now_s()
        if self.failed_s is None:
            self.failed_s = self.turned_s


class Vitals:
    """The pulses of a process. Thread-safe.

    Args:
        limits: the limits of health.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, limits: VitalLimits | None = None, now_s: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or VitalLimits()
        self._now_s = now_s
        self._loops: list[Pulse] = []
        self._stores: list[Pulse] = []
        self._lock = threading.Lock()
        self._ill_s: float | None = None
        self._store_ill_s: float | None = None
        self._was_ready = False
        self._end = ""

    def loop(self, name: str, slack_s: float = 0.0) -> Pulse:
        """Return the pulse of a new loop."""
        pulse = Pulse(name, slack_s, self._now_s)
        self._loops.append(pulse)
        return pulse

    def store(self, name: str) -> Pulse:
        """Return the pulse of a new store, which reports each answer by `work`."""
        pulse = Pulse(name, 0.0, self._now_s)
        self._stores.append(pulse)
        return pulse

    def end(self, cause: str) -> None:
        """Make the process not ready until it ends, because it stops or has failed."""
        self._end = self._end or cause

    def condition(self) -> Condition:
        """Return the present health."""
        now_s, limits = self._now_s(), self.limits
        stores = [cause for pulse in self._stores if (cause := _silence(pulse, limits, now_s) or _beginning(pulse))]
        loops = [cause for pulse in self._loops if (cause := _standstill(pulse, limits, now_s) or _beginning(pulse))]
        causes = [*([self._end] if self._end else []), *stores, *loops]
        return Condition(
            live=self._is_live(any(_silence(pulse, limits, now_s) for pulse in self._stores), now_s),
            started=all(pulse.turned_s is not None for pulse in self._loops),
            ready=self._is_ready(not causes, now_s),
            causes=tuple(causes) or self._healing(now_s),
            recovers=bool(causes) and all(cause.endswith(_RECOVERS) for cause in causes),
        )

    def _is_ready(self, is_well: bool, now_s: float) -> bool:
        with self._lock:
            if not is_well:
                self._ill_s = now_s if self._was_ready else None
                return False
            if self._ill_s is not None and now_s - self._ill_s < self.limits.steady_s:
                return False
            self._was_ready, self._ill_s = True, None
            return True

    def _healing(self, now_s: float) -> tuple[str, ...]:
        with self._lock:
            ill_s = self._ill_s
        if ill_s is None:
            return ()
        return (f"all is well, but has not been for {self.limits.steady_s:g} s yet",)

    def _is_live(self, is_store_ill: bool, now_s: float) -> bool:
        """Return whether every loop turns. A store that is away may block a loop, which must not end the process."""
        with self._lock:
            if is_store_ill:
                self._store_ill_s = now_s
            blocked_s = self._store_ill_s
        limit_s = self.limits.dead_after_s
        if blocked_s is not None and now_s - blocked_s <= limit_s:
            return True
        return not any(_stop(pulse, limit_s, now_s) for pulse in self._loops)


def _standstill(pulse: Pulse, limits: VitalLimits, now_s: float) -> str:
    return _stop(pulse, limits.stuck_after_s, now_s) or _failure(pulse, limits, now_s)


def _stop(pulse: Pulse, limit_s: float, now_s: float) -> str:
    since_s = now_s - (pulse.began_s if pulse.turned_s is None else pulse.turned_s)
    limit_s += pulse.slack_s
    return f"{pulse.name} has not turned for {limit_s:g} s: its thread is stuck" if since_s > limit_s else ""


def _silence(pulse: Pulse, limits: VitalLimits, now_s: float) -> str:
    """Return the cause if a store does not answer, or answers with errors."""
    since_s = now_s - (pulse.began_s if pulse.worked_s is None else pulse.worked_s)
    if since_s <= limits.silent_after_s:
        return ""
    return f"{pulse.name}: {pulse.error or f'no answer for {limits.silent_after_s:g} s'}"


def _failure(pulse: Pulse, limits: VitalLimits, now_s: float) -> str:
    """Return the cause if a loop turns without completing work, because of errors or a recovery.

    The time counts from the first failure, because a turn without failures may take longer than the limit.
    """
    failed_s = pulse.failed_s
    if failed_s is None or now_s - failed_s <= limits.silent_after_s + pulse.slack_s:
        return ""
    return f"{pulse.name} fails: {pulse.error}" if pulse.error else f"{pulse.name} {pulse.doing}"


def _beginning(pulse: Pulse) -> str:
    """Return the cause if a pulse has never completed work."""
    if pulse.worked_s is not None:
        return ""
    if pulse.doing:
        return f"{pulse.name} {pulse.doing}"
    return f"{pulse.name} {NOT_BEGUN}: {pulse.error}" if pulse.error else f"{pulse.name} {NOT_BEGUN}"
