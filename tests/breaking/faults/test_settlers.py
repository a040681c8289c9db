"""Two settlers in two processes share the site-days. When a settler dies, the other settler takes over its sites."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import batches
from hitmesh.model.site_buckets import SITE_BUCKETS, site_bucket
from hitmesh.model.sites import Site
from hitmesh.runtime.clock import SystemClock
from tests.generate.hits import DAY
from tests.support.kill_load import SLACK_MS
from tests.support.messages import page_view
from tests.support.senders import Senders
from tests.support.services import KEY, Cluster, Service
from tests.support.waiting import eventually

DAYS = 2
SETTLED_S = 180.0
MIN_SHARE = 0.4


@pytest.mark.timeout(SLACK_MS // 1_000)
def test_settlers_share_the_site_days_and_the_sites_of_a_dead_settler_are_taken_over(
    store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = list(one_site_of_each_bucket())
    noon = SystemClock().now() // DAY * DAY + DAY // 2
    with Cluster(tmp_path, store_url) as cluster, Senders(cluster.address, KEY, sites) as senders:
        for site in sites:
            cluster.stores.directory.create_site(Site(site, "UTC", "USD", b"secret of a test"))
        settlers = [cluster.a_processor(name) for name in ("settler-a", "settler-b")]
        for settler in settlers:
            settler.start(ROLE="settler", LEASE_MS="3000")
        for settler in settlers:
            settler.wait_for_line("leases_acquired")
        cluster.collector.start()
        cluster.processor.start(ROLE="stream")
        senders.give({site: day_batches(site, "first", noon) for site in sites})
        wait_settled(cluster, senders, sites)
        done = [len(settled_by(settler)) for settler in settlers]
        assert min(done) >= MIN_SHARE * sum(done), done

        dead, alive = settlers
        of_dead = {site for site, _ in settled_by(dead)}
        dead.kill()
        began = time.monotonic()
        senders.give({site: day_batches(site, "later", noon) for site in sites})
        wait_settled(cluster, senders, sites)
        took_s = time.monotonic() - began
        assert of_dead <= {site for site, _ in settled_by(alive)}
        accepted = [
            entry.accepted for site in sites for entry in cluster.stores.generations.ledger(site, 0, 10**6).values()
        ]
        assert accepted == [4] * DAYS * len(sites)
    with capsys.disabled():
        print(f"\nshares of site-days: {done}; everything settled {took_s:.1f} s after a settler died")  # noqa: T201


def one_site_of_each_bucket() -> Iterator[str]:
    """Yield one site per bucket, so that settlers with equally many buckets have equally many sites."""
    found = set[int]()
    for site in (f"merchants/demo/sites/shared-{number}" for number in count()):
        if len(found) == SITE_BUCKETS:
            return
        if site_bucket(site) not in found:
            found.add(site_bucket(site))
            yield site


def day_batches(site: str, prefix: str, noon: int) -> Sequence[hit_pb2.HitBatch]:
    """Return two hits on each of several closed days."""
    hits = [
        page_view(f"{prefix}-{day}-{number}", noon - (5 + day) * DAY + number * 60_000)
        for day in range(DAYS)
        for number in range(2)
    ]
    return list(batches(hits, f"{prefix}-{site[-5:]}", max_hits=40))


def wait_settled(cluster: Cluster, senders: Senders, sites: Sequence[str]) -> None:
    """Block until all hits are acknowledged, streamed and settled."""
    senders.wait_acknowledged(SETTLED_S)
    cluster.wait_counted(SETTLED_S)
    eventually(lambda: not any(map(cluster.stores.dirty.pending, sites)), "every site-day is settled", SETTLED_S)


def settled_by(settler: Service) -> set[tuple[str, str]]:
    """Return the site-days that a settler has settled, according to its log output."""
    lines = settler.log.read_text(errors="replace").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith('{"') and line.endswith("}")]
    return {(entry["site"], entry["date"]) for entry in entries if entry.get("event") == "settled"}
