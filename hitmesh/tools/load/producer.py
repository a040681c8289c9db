"""Encodes the frames of a run ahead of the sender, in a process of its own, with bounded memory.

Decides how far ahead: what fits into a pipe and a buffer. A process of its own, since a thread would take the
interpreter from the sender in the middle of its schedule. The parent hands over keys on standard input, never as
arguments, which everybody on the machine could read.
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
    """The encoding process, as its parent sees it. Use it in a `with`."""

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
        """The process."""
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
        """Returns when the process can encode at once: the start can be set close ahead."""
        if self._receive() != READY:
            raise HitmeshError("the process that encodes hits did not start; its message stands above")

    def start(self, keys: dict[int, str], start_ms: int) -> None:
        """Begins to encode for a start; may be called once."""
        order = {"plan": asdict(self._plan), "keys": keys, "start_ms": start_ms}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        threading.Thread(target=self._fill, name="load-frames", daemon=True).start()

    def frames(self) -> Iterator[Frame]:
        """Yields the frames in order, each as soon as it is there.

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
            raise HitmeshError("the process that encodes hits ended too early; its message stands above")

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
        """Returns what the process says next; None when it has ended."""
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it ended, or this side was closed
            return None


def encode(orders: IO[bytes], out: IO[bytes]) -> None:
    """Says that it is ready, reads the order, writes every frame, then visits per site and CPU seconds."""
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
    """Runs the encoding process."""
    try:
        encode(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):  # the parent is gone, or both were interrupted
        os._exit(1)


if __name__ == "__main__":
    main()
