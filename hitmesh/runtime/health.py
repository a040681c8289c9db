"""The health service of a process: gRPC health checks by name, and a log line when the readiness changes.

The names are `live`, `started` and `ready` (hitmesh.runtime.vitals), the full names of the process's gRPC services, and
"" for the whole server. A gRPC service, and the whole server, are SERVING if the process is ready.

A check computes its answer at once and has threads of its own, so that calls that wait delay no check.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2

from hitmesh.runtime.logs import logger
from hitmesh.runtime.vitals import NOT_BEGUN, Condition, Vitals

LIVE: Final = "live"
STARTED: Final = "started"
READY: Final = "ready"
LOOK_EVERY_S: Final = 0.25

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health.HealthServicer):
    """Answers health checks from the vitals, and tells watchers and the log about changes.

    `look` must be called at intervals, which `HealthWatch` does.

    Args:
        vitals: the health of the process.
        pool: threads for the streams of watchers.
    """

    def __init__(self, vitals: Vitals, pool: Any) -> None:
        super().__init__(experimental_thread_pool=pool)
        self._vitals = vitals
        self._services: tuple[str, ...] | None = None  # None until `serve` is called
        self._sent: dict[str, Any] = {}
        self._is_ill_logged = False
        self._was_ready = False

    def serve(self, services: Sequence[str]) -> None:
        """Begin to answer for these services. Before, the only known name is "", which is NOT_SERVING."""
        self._services = tuple(services)
        self.look()

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the name of the RPC
        """Return the present health of a name."""
        if (status := self._statuses(self._vitals.condition()).get(request.service)) is not None:
            return health_pb2.HealthCheckResponse(status=status)
        return super().Check(request, context)

    def end(self, cause: str) -> None:
        """Report that the process is not ready until it ends. The caller logs the cause."""
        self._is_ill_logged = True
        self._vitals.end(cause)
        self.look()

    def look(self) -> None:
        """Tell watchers the present health, and write a log line if the process has become ready or not ready."""
        condition = self._vitals.condition()
        for name, status in self._statuses(condition).items():
            if self._sent.get(name) != status:
                self.set(name, status)
                self._sent[name] = status
        self._log(condition)

    def _statuses(self, condition: Condition) -> dict[str, Any]:
        if self._services is None:
            return {"": _NOT_SERVING}
        ready = dict.fromkeys(("", *self._services, READY), condition.ready)
        by_name = {**ready, LIVE: condition.live, STARTED: condition.started}
        return {name: _SERVING if is_well else _NOT_SERVING for name, is_well in by_name.items()}

    def _log(self, condition: Condition) -> None:
        """Write a line per change. Causes that begin later are in the line of /health, but in no further log line."""
        if condition.ready:
            if self._is_ill_logged or not self._was_ready:
                logger().info("ready")
            self._is_ill_logged, self._was_ready = False, True
        elif not self._is_ill_logged and (self._was_ready or _is_alarming(condition)):
            self._is_ill_logged = True
            logger().error("not_ready", causes=list(condition.causes), live=condition.live)


def _is_alarming(condition: Condition) -> bool:
    """Return whether a process that was never ready has a cause beyond its start."""
    return not condition.recovers and any(NOT_BEGUN not in cause for cause in condition.causes)


class HealthWatch:
    """The thread that calls `Health.look` between `start` and `stop`."""

    def __init__(self, checks: Health, every_s: float = LOOK_EVERY_S) -> None:
        self._checks = checks
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._checks.look()


def as_json(condition: Condition) -> bytes:
    """Return a condition as the body of an answer to GET /health."""
    return json.dumps(
        {
            "live": condition.live,
            "started": condition.started,
            "ready": condition.ready,
            "recovers": condition.recovers,
            "causes": list(condition.causes),
        }
    ).encode()


def health_page(vitals: Vitals) -> Callable[[], tuple[bool, bytes]]:
    """Return a function that returns whether the process is ready, and the body for GET /health."""

    def page() -> tuple[bool, bytes]:
        condition = vitals.condition()
        return condition.ready, as_json(condition)

    return page
