"""Reports run while corrected days are published and rolled back.

Each day in an answer has either all its old numbers or all its new numbers. Reports at an earlier data version always
have the same bytes.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from pathlib import Path

import pytest

from hitmesh.model.cells import Grain
from hitmesh.model.errors import Unavailable
from hitmesh.model.logic import V0
from hitmesh.model.reprocessings import Work
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS
from reporter.answer.formats import Format, to_file
from reporter.answer.pins import pin_in
from reporter.answer.route import Path as ServingPath
from reporter.question.catalogue import METRICS
from reporter.question.question import GapFill, Question
from reporter.rpc.answer import Answer, answer
from tests.reference.hits import RefHit
from tests.support.dates import buckets
from tests.support.reprocessing import done, plan
from tests.support.small_mesh import SmallMesh
from tests.support.two_paths import Faulty, report_of
from tests.support.waiting import eventually

SITE = "merchants/demo/sites/shop"
DAY = 20_000
DAYS = 3
MINUTE = 60_000
MOVES = 50
"""Number of times that the corrected days are published and rolled back again."""
NAMES = ("hits", "visits", "bounces", "visit_duration_total")
FIRST = dt.date(1970, 1, 1) + dt.timedelta(days=DAY)


def hits_of(day: int) -> list[RefHit]:
    """Return hits of a day, 10 minutes apart.

    Under v0, each hit is a visit. Under the current logic, all hits are one visit.
    """
    times = [(DAY + day) * DAY_MS + minute * MINUTE for minute in range(0, 60 + 10 * day, 10)]
    return [RefHit(SITE, f"v{day}", f"{day}-{time}", time, page_path="/") for time in times]


def by_day() -> Question:
    """Return a question that asks for the numbers of every day."""
    axis = buckets("UTC", FIRST, FIRST + dt.timedelta(days=DAYS - 1), Grain.DAY)
    return Question(
        metrics=tuple(METRICS[name] for name in NAMES),
        buckets=axis,
        start=int(axis.starts[0]),
        end=int(axis.ends[-1]),
        gap_fill=GapFill.NONE,
    )


def answer_at(reporter: Faulty, site: Site, version: str = "") -> Answer:
    """Answer the question about every day. If `version` is given, the answer has data version `version`."""
    pin = pin_in(version, (site,), site.name) if version else None
    return answer(reporter.backend, by_day(), (site,), site.currency, (), pin)


def file_of(found: Answer) -> bytes:
    """Return an answer in the bytes of an export."""
    return to_file(Format.CSV, found.rows, found.totals, {}, found.currency)


def days_of(reporter: Faulty, site: Site, path: ServingPath) -> tuple[tuple[object, ...], ...]:
    """Ask the reporter on a serving path for every day, and return the values of each day."""
    found = answer_at(reporter, site)
    assert found.path is path
    rows = report_of(found)
    return tuple(tuple(rows[key][name] for name in NAMES) for key in sorted(rows))


def reporter_on(mesh: SmallMesh, path: ServingPath) -> Faulty:
    """Return a reporter that answers only on the given serving path."""
    reporter = Faulty(mesh.stores, mesh.clock)
    reporter.series.is_silent = path is ServingPath.METRICS
    return reporter


def wait_for_answers(seen: Counter[tuple[tuple[object, ...], ...]], before: int, failures: list[BaseException]) -> None:
    """Block until a further question is answered, or a question fails."""
    eventually(lambda: bool(failures) or seen.total() > before, "another answer", 30)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", list(ServingPath))
def test_every_answer_has_each_day_whole_old_or_new(path: ServingPath, tmp_path: Path) -> None:
    mesh = SmallMesh((DAY + 9) * DAY_MS, sites=[SITE], logic=V0, url=f"embedded:{tmp_path}")
    for day in range(DAYS):
        mesh.send(hits_of(day))
    mesh.settle()
    site = mesh.stores.directory.site(SITE)
    assert site is not None
    old = days_of(reporter_on(mesh, path), site, path)
    plan(mesh, [SITE], logic="v1")
    done(mesh, Work.RECOMPUTE)
    assert days_of(reporter_on(mesh, path), site, path) == old, "no report reads recomputed days"
    first = answer_at(reporter_on(mesh, path), site)
    assert first.is_pinnable
    pinned = {first.data_version: file_of(first)}
    seen: Counter[tuple[tuple[object, ...], ...]] = Counter()
    is_over = threading.Event()
    failures: list[BaseException] = []

    def ask_until_over() -> None:
        reporter = reporter_on(mesh, path)
        while not is_over.is_set():
            try:
                version, file = list(pinned.items())[seen.total() % len(pinned)]
                assert file_of(answer_at(reporter, site, version)) == file
                seen[days_of(reporter, site, path)] += 1
            except Unavailable:
                continue
            except BaseException as error:  # the test's thread reports the error
                failures.append(error)
                return

    askers = [threading.Thread(target=ask_until_over) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(MOVES):
            done(mesh, Work.PUBLISH)
            new = days_of(reporter_on(mesh, path), site, path)
            if len(pinned) == 1:
                moved = answer_at(reporter_on(mesh, path), site)
                pinned[moved.data_version] = file_of(moved)
            done(mesh, Work.ROLL_BACK)
            assert days_of(reporter_on(mesh, path), site, path) == old
            wait_for_answers(seen, seen.total(), failures)
    finally:
        is_over.set()
        for asker in askers:
            asker.join()
    assert not failures, failures
    assert len({*pinned.values()}) == 2
    for version, file in pinned.items():
        assert file_of(answer_at(reporter_on(mesh, path), site, version)) == file
    assert all(before != after for before, after in zip(old, new, strict=True))
    for days in seen:
        assert all(day in choices for day, choices in zip(days, zip(old, new, strict=True), strict=True)), days
    assert seen[old] + seen[new] > 0
    mesh.runner.close()
    mesh.stores.close()
