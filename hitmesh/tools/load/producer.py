"""Encodes a run's frames ahead of the sender, in a separate process, with bounded memory.

If a pipe and a buffer of AHEAD_BYTES are full of frames that the sender has not read, the process pauses. If a thread
encoded the frames, the thread would hold the interpreter lock while the sender needs the lock to keep the schedule. A
separate process therefore encodes the frames. The parent passes keys on standard input, because every user on the
machine could read arguments.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from typing import IO, Any, Final

from hitmesh.model.errors import HitmeshError
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.traffic import Frame
from hitmesh.tools.load.visits import VisitCounts
from hitmesh.tools.load.wild_traffic import traffic_of

AHEAD_BYTES: Final = 64 << 20
READY: Final = "ready"


class Producer:
    """The parent's handle for the encoding process. Use the handle in a `with` statement."""

    def __init__(self, plan: LoadPlan, ahead_bytes: int = AHEAD_BYTES) -> None:
        self.visits: dict[int, VisitCounts] = {}
        self.cpu_s = 0.0
        self._plan = plan
        self._ahead_bytes = ahead_bytes
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._ended = False
        self._closed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hitmesh.tools.load.producer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def wait_ready(self) -> None:
        """Block until the process is ready to encode."""
        if self._receive() != READY:
            raise HitmeshError("the process that encodes hits did not start; see its message above")

    def start(self, keys: dict[int, str], start_ms: int) -> None:
        """Start encoding for the given start time.

        This method may be called only once.
        """
        order = {"plan": asdict(self._plan), "keys": keys, "start_ms": start_ms}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        threading.Thread(target=self._fill, name="load-frames", daemon=True).start()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, each as soon as it is encoded.

        Raises:
            HitmeshError: the process ended before the last frame.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._ended)
                if not self._frames:
                    break
                frame = self._frames.popleft()
                self._bytes -= len(frame.content)
                self._changed.notify_all()
            yield frame
        if not self.cpu_s:
            raise HitmeshError("the process that encodes hits ended too early; see its message above")

    def _fill(self) -> None:
        while isinstance(received := self._receive(), Frame):
            with self._changed:
                self._frames.append(received)
                self._bytes += len(received.content)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._bytes < self._ahead_bytes or self._closed)
        with self._changed:
            if received is not None:
                self.visits, self.cpu_s = received
            self._ended = True
            self._changed.notify_all()

    def _receive(self) -> Any:
        """Return the next object from the process; None if the process has ended."""
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        # the process ended, or `__exit__` closed the pipe
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            return None


def encode(orders: IO[bytes], out: IO[bytes]) -> None:
    """Write READY, read plan, keys and start time, and then write every frame.

    After the last frame, write the visits per site and the used CPU seconds.
    """
    _send(out, READY)
    line = orders.readline()
    if not line:
        return
    order = json.loads(line)
    keys = {int(site): key for site, key in order["keys"].items()}
    traffic = traffic_of(LoadPlan(**order["plan"]), keys, order["start_ms"])
    for frame in traffic:
        _send(out, frame)
    _send(out, (traffic.visits, time.process_time()))


def _send(out: IO[bytes], value: object) -> None:
    pickle.dump(value, out, pickle.HIGHEST_PROTOCOL)
    out.flush()


def main() -> None:
    """Run the encoding process."""
    try:
        encode(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):  # the parent has ended, or both processes were interrupted
        os._exit(1)


if __name__ == "__main__":
    main()
