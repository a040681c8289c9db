"""Clients that resend until every batch is acknowledged, even if the collector dies.

Each site has a separate client and thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import Self

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.mesh import Mesh
from hitmesh.client.patience import Patience
from hitmesh.client.sender import HitSender, SendTotals
from tests.support.patience import patient

# The clients retry for ten minutes. Ten minutes are enough, because a collector restarts within 30 s even on a busy
# machine. If a collector stays down, another wait of the test fails first.
PATIENCE = Patience(attempts=3_000, first_s=0.05, max_s=0.2, stall_s=20.0)
DRAINED_S = 60.0

Portion = Mapping[str, Sequence[hit_pb2.HitBatch]]
"""Batches by site."""


class Senders:
    """A context manager that sends portions of batches in the background, in order.

    Args:
        address: the collector's address.
        key: a server key for all sites.
        sites: the sites to send to, each on a separate stream.
        patience: retry policy for each client.
    """

    def __init__(self, address: str, key: str, sites: Sequence[str], patience: Patience = PATIENCE) -> None:
        self._address = address
        self._patience = patience
        self._key = key
        self._changed = threading.Condition()
        self._given = dict.fromkeys(sites, 0)
        self._done = dict.fromkeys(sites, 0)
        self._queues: dict[str, SimpleQueue[Sequence[hit_pb2.HitBatch] | None]] = {
            site: SimpleQueue() for site in sites
        }
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
        """Queue a portion, which is sent after all earlier portions."""
        with self._changed:
            for site, batches in portion.items():
                self._given[site] += 1
                self._queues[site].put(batches)

    @property
    def are_done(self) -> bool:
        """Whether all queued batches are acknowledged."""
        with self._changed:
            return self._given == self._done

    @property
    def done(self) -> int:
        """Number of acknowledged portions, over all sites."""
        with self._changed:
            return sum(self._done.values())

    @property
    def resent(self) -> int:
        """Number of resent hits in acknowledged portions. A hit that was resent twice counts twice."""
        with self._changed:
            return sum(totals.resent for totals in self.totals.values())

    def wait_acknowledged(self, timeout_s: float = DRAINED_S) -> None:
        """Block until all queued batches are acknowledged."""
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
        except BaseException as error:  # `wait_acknowledged` raises the error in the test's thread
            with self._changed:
                self._failed.append(error)
                self._changed.notify_all()


def portions(batches: Portion, sizes: Sequence[int]) -> list[Portion]:
    """Divide the batches of each site into portions whose sizes are proportional to `sizes`."""
    cut: list[Portion] = []
    whole = sum(sizes)
    for number, size in enumerate(sizes):
        before = sum(sizes[:number])
        cut.append(
            {
                site: site_batches[len(site_batches) * before // whole : len(site_batches) * (before + size) // whole]
                for site, site_batches in batches.items()
            }
        )
    return cut
