"""Send whole files through collector, stream and settler on a simulated clock, and compare with the reference.

Each file is sent once per arrival plan (in order, shuffled, delayed, late, resent). Each arrival plan has separate
sites. The hits of all plans are sent concurrently. The stream is compared before settlement, first with open visits,
then after all visits have ended. After the comparisons with the stream, every day closes and is settled. Each day's
drift must equal exactly the effect of late hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from collector.admission import Frame
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.generations import Drift
from hitmesh.model.sites import IngestKey, KeyKind, SiteDay
from hitmesh.model.zones import DAY_MS
from tests.generate.arrivals import (
    DELAYED,
    EVERYTHING,
    FAR_DELAYED,
    FAR_RESENT,
    IN_ORDER,
    PLANS,
    RESENT,
    SHUFFLED,
    Plan,
    arrivals,
    on_sites,
)
from tests.generate.hits import FIRST_DAY, generate_hits
from tests.generate.scenarios import MINUTE, SECOND
from tests.reference.files import read_access_log, read_shop_csv
from tests.reference.hits import RefHit, hash64
from tests.reference.settled import settle
from tests.reference.streamed import Streamed, drift, full_refunds, stream
from tests.support.live_mesh import LiveMesh
from tests.support.live_rows import ALL_DAYS, Seen, classes_by_day, expected_classes, ledger_faults
from tests.support.messages import timestamp
from tests.support.small_mesh import expected_rows, folded_rows

REAL_FILES = Path(__file__).parents[2] / ".." / "shared" / "data"
VISITS_END_MS = 31 * MINUTE
ENOUGH_HITS = {"whole": 1_000, "part": 5}
"""Minimum number of hits that must take each path through the stream, so that the test covers all paths."""

SITES_OF_PLAN = {
    "access-log": {IN_ORDER: 1, SHUFFLED: 2, DELAYED: 2, FAR_DELAYED: 8, RESENT: 1, FAR_RESENT: 1, EVERYTHING: 7},
    "shop": {FAR_DELAYED: 2, EVERYTHING: 2},
    "generated": {},
}
GENERATED_HITS = {FAR_DELAYED: 44_000, EVERYTHING: 44_000}
PART_HITS = 250
"""Number of hits that a short replay takes from each real file."""
GENERATED_DAYS = 4
SMALLEST_FILE = 1  # the scenarios alone
PARTITIONS = 2


def access_log(plan: Plan, length: str) -> list[RefHit]:
    hits, _ = read_access_log(real_file("access.log"), "")
    hits = of_length(hits, length)
    # The collector accepts visitor ids of up to 128 bytes, so longer ids in the log are replaced by hashes.
    return with_sites("access-log", plan, [replace(hit, visitor=f"{hash64(hit.visitor):016x}") for hit in hits], length)


def shop(plan: Plan, length: str) -> list[RefHit]:
    hits, _ = read_shop_csv(real_file("shop-2019-10.csv"), "")
    return with_sites("shop", plan, of_length(hits, length), length)


def of_length(hits: list[RefHit], length: str) -> list[RefHit]:
    return hits if length == "whole" else hits[:PART_HITS]


def generated(plan: Plan, length: str) -> list[RefHit]:
    if length == "part" and plan is not EVERYTHING:
        return []
    hits = generate_hits(
        PLANS.index(plan), SMALLEST_FILE if length == "part" else GENERATED_HITS.get(plan, SMALLEST_FILE)
    )
    end = (FIRST_DAY - date(1970, 1, 1)).days * DAY_MS + GENERATED_DAYS * DAY_MS
    return [replace(hit, site=f"{hit.site}-{plan.name}") for hit in hits if hit.event_time < end]


def real_file(name: str) -> Path:
    path = REAL_FILES / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is not here")
    return path


def with_sites(file: str, plan: Plan, hits: Sequence[RefHit], length: str) -> list[RefHit]:
    count = SITES_OF_PLAN[file].get(plan, 1) if length == "whole" else 1
    return on_sites(hits, [f"merchants/demo/sites/{plan.name}-{number}" for number in range(count)])


FILES: Mapping[str, Callable[[Plan, str], list[RefHit]]] = {
    "access-log": access_log,
    "shop": shop,
    "generated": generated,
}
REAL = ("access-log", "shop")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("file", "length"),
    [
        *((file, "part") for file in REAL),
        *(pytest.param(file, "whole", marks=pytest.mark.long) for file in FILES),
        # The scenarios alone have 12,000 hits, which tests in tests/property and tests/e2e settle in every run.
        pytest.param("generated", "part", marks=pytest.mark.long),
    ],
)
def test_a_file_is_streamed_and_then_settled_like_the_reference(file: str, length: str, tmp_path: Path) -> None:
    hits = {plan: FILES[file](plan, length) for plan in PLANS}
    sent = sorted(
        (arrival for plan in PLANS for arrival in arrivals(hits[plan], plan)), key=lambda arrival: arrival.at_ms
    )
    sites = sorted({hit.site for of_plan in hits.values() for hit in of_plan})
    middle = len(sent) // 2
    with LiveMesh("memory:", tmp_path, sent[0].at_ms - MINUTE, sites, partitions=PARTITIONS) as mesh:
        mesh.replay(sent[:middle])
        mesh.idle()
        assert check_stream(mesh, mesh.clock.now()).open_visits
        mesh.replay(sent[middle:])
        mesh.idle(VISITS_END_MS)
        streamed = check_stream(mesh, mesh.clock.now())
        assert not streamed.open_visits
        check_paths(mesh, streamed, ENOUGH_HITS[length])
        check_ledger(mesh)
        assert mesh.published() == set()  # no day is settled yet, so the numbers are the stream's
        before = {site: mesh.seen(site) for site in sites}
        mesh.settle()
        for site in sites:
            check_settled(mesh, site, before[site])
        in_order = {hit.site for hit in hits[IN_ORDER]}
        if file != "generated":  # the landing page of generated visits changes while hits arrive
            assert all(day_drift.confirmed for site in in_order for day_drift in drifts(mesh, site).values())


def check_stream(mesh: LiveMesh, log_time: int) -> Streamed:
    """Check that the stream equals the reference at a log time, and return the reference's result without entries."""
    everything = Streamed()
    for site, logged in mesh.logged.items():
        expected = stream(logged, log_time)
        differences = mesh.seen(site).differences_from(folded_rows(expected.entries))
        assert not differences, f"{site}: {len(differences)} rows differ\n" + "\n".join(differences[:5])
        everything.counted += expected.counted
        everything.copies += expected.copies
        everything.late += expected.late
        everything.pending += expected.pending
        everything.open_visits += expected.open_visits
    return everything


def check_paths(mesh: LiveMesh, streamed: Streamed, enough: int) -> None:
    """Check that each hit took the right path through the stream, and that enough hits took each path."""
    counts = mesh.runner.counts
    assert (counts.late, counts.history, counts.copies) == (
        len(streamed.late),
        len(streamed.pending),
        len(streamed.copies),
    )
    assert counts.fast + counts.slow == len(streamed.counted) - len(streamed.late)
    assert min(counts.fast, counts.slow, counts.late) >= enough, counts


def check_ledger(mesh: LiveMesh) -> None:
    """Check that the ledger counts every hit, with the hit's hash, in the class that the reference determines (P12)."""
    mesh.runner.flush()
    entries = mesh.stores.ledger.read(None)
    assert ledger_faults(entries) == []
    for site, logged in mesh.logged.items():
        assert classes_by_day(entries, site) == expected_classes(stream(logged, mesh.clock.now()))


def check_settled(mesh: LiveMesh, site: str, before: Seen) -> None:
    """Check that settled rows equal the reference, and that drift equals settled rows minus the stream's rows."""
    logged = mesh.logged[site]
    after = mesh.seen(site)
    assert after.differences_from(expected_rows(logged)) == []
    assert not after.provisional
    found, (settled, streamed) = drifts(mesh, site), (settle(logged), stream(logged))
    expected = drift(settled, streamed)
    assert {day: day_drift.measures for day, day_drift in found.items() if day_drift.measures} == {
        day: by for (_, day), by in expected.items() if day in found
    }
    counted_days = {entry.instant_ms // DAY_MS for entry in streamed.entries}
    assert counted_days <= found.keys()
    changed = {key[3] // DAY_MS for key in before.changed(after)}
    provisional = {key[3] // DAY_MS for key in before.provisional}
    for day, day_drift in found.items():
        assert day_drift.rows_differ == (day in changed), (site, day, day_drift)
        assert day_drift.confirmed == (not day_drift.rows_differ and not day_drift.sketch_provisional), (
            site,
            day,
            day_drift,
        )
        assert day not in provisional or day_drift.sketch_provisional, (site, day, day_drift)
    if not streamed.late and not streamed.pending and len(settled.copies) == len(streamed.copies):
        assert (expected, changed - {day for _, day in full_refunds(settled)}) == ({}, set())  # P2


def drifts(mesh: LiveMesh, site: str) -> dict[int, Drift]:
    """Return the recorded drift of each settled day of a site."""
    found: Mapping[SiteDay, Drift] = mesh.stores.generations.drifts(site, *ALL_DAYS)
    return {site_day.day: day_drift for site_day, day_drift in found.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("length", ["part", pytest.param("whole", marks=pytest.mark.long)])
def test_a_shop_on_files_is_streamed_and_settled_through_crashes_like_the_reference(
    length: str, tmp_path: Path
) -> None:
    sent = arrivals(shop(SHUFFLED, length), SHUFFLED)
    site, portion = sent[0].hit.site, len(sent) // 5 + 1
    with LiveMesh(f"embedded:{tmp_path}/data", tmp_path / "home", sent[0].at_ms - MINUTE, [site]) as mesh:
        for part, start in enumerate(range(0, len(sent), portion)):
            mesh.replay(sent[start : start + portion])
            if part % 2:
                mesh.runner.snapshot()
            mesh.crash()
        mesh.idle(VISITS_END_MS)
        check_stream(mesh, mesh.clock.now())
        check_ledger(mesh)
        before = mesh.seen(site)
        mesh.settle()
        check_settled(mesh, site, before)


EDGE_KEY = "hms_the-key-of-an-edge-00000000000000000000000"
SITE = "merchants/demo/sites/edge"
NOON = 1_743_854_400_000


@pytest.mark.parametrize(
    ("resent_after", "edge_jitter"), [((3, 30), (0, 0)), ((3, 30), (180, -70)), ((60, 3600), (9, 400))]
)
def test_a_hit_sent_three_times_with_new_send_and_edge_times_is_one_hit_and_two_duplicates(
    tmp_path: Path, resent_after: tuple[int, int], edge_jitter: tuple[int, int]
) -> None:
    """Vector D-a. The browser's clock is an hour ahead, and each attempt reaches the edge after a different time."""
    with LiveMesh("memory:", tmp_path, NOON, [SITE]) as mesh:
        key = IngestKey("edge", "merchants/demo", KeyKind.EDGE, SITE)
        mesh.stores.directory.create_key(key, EDGE_KEY)
        for after_s, jitter_ms in zip((0, *resent_after), (0, *edge_jitter), strict=True):
            sent_at = NOON + MINUTE + after_s * SECOND
            mesh.advance_to(sent_at + 500)
            (outcome,) = mesh.admit([an_edge_frame(sent_at, jitter_ms, mesh.clock.now())])
            assert (outcome.accepted, outcome.issues) == (1, ())
        mesh.idle()
        streamed = totals_of(mesh)
        assert streamed == {"hits": 1, "duplicate_hits": 2, "visits": 1, "pageviews": 1}
        mesh.settle()
        assert totals_of(mesh) == streamed


def an_edge_frame(sent_at: int, jitter_ms: int, now: int) -> Frame:
    """Return the frame with which an edge forwards the hit of NOON + 1 min, sent at `sent_at`."""
    ahead_ms = 3_600_000
    created = NOON + MINUTE
    batch = hit_pb2.HitBatch(
        batch_id=f"attempt-{sent_at}",
        client_send_time=timestamp(sent_at + ahead_ms),
        edge=hit_pb2.EdgeContext(edge_receive_time=timestamp(sent_at + 200 + jitter_ms)),
        hits=[
            hit_pb2.Hit(
                hit_id="the-same",
                type=hit_pb2.HIT_TYPE_PAGE_VIEW,
                visitor_id="v",
                client_create_time=timestamp(created + ahead_ms),
                page_view=hit_pb2.PageView(url="https://shop.example/"),
            )
        ],
    )
    return Frame(batch.SerializeToString(), EDGE_KEY, SITE, now)


def totals_of(mesh: LiveMesh) -> dict[str, int]:
    """Return the sums of the test vector's metrics over the site's rows, without zeros."""
    rows = mesh.seen(SITE, NOON // DAY_MS).rows
    sums = {
        name: sum(row.get(name, 0) for key, row in rows.items() if not key[1])
        for name in ("hits", "duplicate_hits", "visits", "pageviews")
    }
    return {name: value for name, value in sums.items() if value}
