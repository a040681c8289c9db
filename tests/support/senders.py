"""Clients that send until everything is acknowledged, whatever happens to the collector: one thread a site."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Self

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.mesh import Mesh
from hitmesh.client.sender import HitSender, Patience, SendTotals
from tests.support.patience import patient

# Ten minutes: on a busy machine a collector takes half a minute to start again, and other waits end a test before.
PATIENCE = Patience(attempts=3_000, first_s=0.05, max_s=0.2, stall_s=20.0)
DRAINED_S = 60.0

Portion = Mapping[str, Sequence[hit_pb2.HitBatch]]
"""Batches of each site."""


class Senders:
    """Sends portions in the background, in order. Use it as a context.

    Args:
        address: of the collector, where it is alive.
        key: a server key of all sites.
        sites: each has a stream of its own.
        patience: of each client.
    """

    def __init__(self, address: str, key: str, sites: Sequence[str], patience: Patience = PATIENCE) -> None:
        self._address = address
        self._patience = patience
        self._key = key
        self._changed = threading.Condition()
        self._given = dict.fromkeys(sites, 0)
        self._done = dict.fromkeys(sites, 0)
        self._queues: dict[str, SimpleQueue[Sequence[hit_pb2.HitBatch] | None]] = {one: SimpleQueue() for one in sites}
        self._failed: list[BaseException] = []
        self.totals: dict[str, SendTotals] = {}
        self._threads = [threading.Thread(target=self._run, args=(site,), name=site) for site in sites]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for queue in self._queues.values():
            queue.put(None)
        for thread in self._threads:
            thread.join()

    def give(self, portion: Portion) -> None:
        """Starts to send; what was given before goes first."""
        with self._changed:
            for site, batches in portion.items():
                self._given[site] += 1
                self._queues[site].put(batches)

    @property
    def are_done(self) -> bool:
        """Whether all that was given is acknowledged."""
        with self._changed:
            return self._given == self._done

    @property
    def resent(self) -> int:
        """How many hits went out more than once, each time counted, in portions that are acknowledged."""
        with self._changed:
            return sum(one.resent for one in self.totals.values())

    def wait_acknowledged(self, timeout_s: float = DRAINED_S) -> None:
        """Waits until all that was given is acknowledged."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._given == self._done, patient(timeout_s))
            assert not self._failed, self._failed
            assert self._given == self._done, f"not acknowledged within {patient(timeout_s):.0f} s"

    def _run(self, site: str) -> None:
        try:
            with (
                Mesh.connect(self._address, self._key) as mesh,
                HitSender(mesh, site, patience=self._patience) as sender,
            ):
                for batches in iter(self._queues[site].get, None):
                    for batch in batches:
                        sender.submit(batch)
                    sender.drain()
                    with self._changed:
                        self._done[site] += 1
                        self.totals[site] = sender.totals
                        self._changed.notify_all()
        except BaseException as error:  # told to whoever waits, instead of a thread that nobody hears
            with self._changed:
                self._failed.append(error)
                self._changed.notify_all()


def portions(batches: Portion, sizes: Sequence[int]) -> list[Portion]:
    """Cuts the batches of each site into shares of these sizes; the last one has the rest."""
    cut: list[Portion] = []
    whole = sum(sizes)
    for number, size in enumerate(sizes):
        before = sum(sizes[:number])
        cut.append(
            {
                site: own[len(own) * before // whole : len(own) * (before + size) // whole]
                for site, own in batches.items()
            }
        )
    return cut
