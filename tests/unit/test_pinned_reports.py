"""Test reports at an earlier data version.

The bytes of a report stay equal until the data version expires, whatever is settled later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.api.reporter.v1 import export_pb2
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Work
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS
from reporter.answer.pins import MAX_TOKEN_CHARS
from reporter.answer.route import Path as ServingPath
from reporter.rpc.explain_report import explain_report
from reporter.rpc.export_report import export_report
from reporter.rpc.run_report import run_report
from tests.support.erasing import erase
from tests.support.reprocessing import done, plan
from tests.support.small_mesh import SmallMesh
from tests.support.two_paths import Faulty
from tests.unit.reprocessed import HITS, arrive
from tests.unit.settling import DAY, OTHER, SITE, a_hit

RIVAL = "merchants/rival/sites/s"
FIRST, LAST = "2024-10-04", "2024-10-06"  # the hits in HITS lie on these days
METRICS = ("hits", "visits", "bounces", "visitors", "visit_duration_total")


def a_settled_mesh(url: str) -> Iterator[SmallMesh]:
    """Yield a mesh with three settled days and a site of another merchant."""
    mesh = SmallMesh(DAY * DAY_MS, sites=[SITE, OTHER], url=url)
    mesh.stores.directory.create_site(Site(RIVAL, "UTC", "USD", b"secret of a rival"))
    mesh.send(HITS)
    mesh.settle()
    yield mesh
    mesh.runner.close()
    mesh.stores.close()


@pytest.fixture
def mesh() -> Iterator[SmallMesh]:
    yield from a_settled_mesh("memory:")


@pytest.fixture
def mesh_in_files(tmp_path: Path) -> Iterator[SmallMesh]:
    yield from a_settled_mesh(f"embedded:{tmp_path}")


class Asker:
    """A reporter that answers questions about three settled days on the given serving path."""

    def __init__(self, mesh: SmallMesh, path: ServingPath) -> None:
        self.reporter = Faulty(mesh.stores, mesh.clock)
        self.reporter.series.is_silent = path is ServingPath.METRICS

    def run(
        self, version: str = "", last: str = LAST, first: str = FIRST, site: str = SITE, dimensions: str = ""
    ) -> pb.RunReportResponse:
        """Ask by RunReport."""
        request = pb.RunReportRequest(
            site=site,
            metrics=METRICS,
            dimensions=[dimensions] if dimensions else [],
            time_grain=pb.TIME_GRAIN_DAY,
            include_totals=True,
            data_version=version,
        )
        dates = request.time_range.dates
        for date, text in ((dates.first_date, first), (dates.last_date, last)):
            date.year, date.month, date.day = map(int, text.split("-"))
        return run_report(self.reporter.backend, None, request)

    def export(self, version: str = "", form: str = "csv") -> bytes:
        """Ask by ExportReport."""
        request = export_pb2.ExportReportRequest(
            site=SITE, metrics=METRICS, first_date=FIRST, last_date=LAST, time_grain="day", format=form
        )
        request.data_version = version
        return export_report(self.reporter.backend, None, request).content


def numbers(response: pb.RunReportResponse) -> bytes:
    """Return the bytes of a response, without the parts that depend on the time and the cost of the answer."""
    kept = pb.RunReportResponse()
    kept.CopyFrom(response)
    kept.meta.Clear()
    meta = response.meta
    kept.meta.data_version, kept.meta.state, kept.meta.excluded_hits = meta.data_version, meta.state, meta.excluded_hits
    kept.meta.logic_versions.extend(meta.logic_versions)
    return kept.SerializeToString(deterministic=True)


def refused(asker: Asker, version: str, **place: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        asker.run(version, **place)
    return caught.value


def settle_late_hit(mesh: SmallMesh, minute: int) -> None:
    arrive(mesh, a_hit(minute, visitor=f"late {minute}"))
    mesh.settle()


@pytest.mark.parametrize("path", list(ServingPath))
def test_pinned_answer_stays_equal_after_late_hits_publish_and_rollback(
    mesh_in_files: SmallMesh, path: ServingPath
) -> None:
    mesh = mesh_in_files
    asker = Asker(mesh, path)
    first = asker.run()
    version = first.meta.data_version
    files = {form: asker.export(form=form) for form in ("csv", "ndjson")}
    assert (first.meta.pinnable, first.meta.state) == (True, pb.CELL_STATE_SETTLED)
    assert len(version) <= MAX_TOKEN_CHARS

    def check(is_changed: bool) -> None:
        pinned = asker.run(version)
        assert numbers(pinned) == numbers(first)
        assert (pinned.meta.data_version, pinned.meta.request.data_version) == (version, version)
        assert pinned.meta.freshness.state == pb.FRESHNESS_STATE_LIVE
        assert {form: asker.export(version, form) for form in files} == files
        now = asker.run()
        assert (now.rows != first.rows, now.meta.data_version != version) == (is_changed, is_changed)

    check(is_changed=False)
    settle_late_hit(mesh, 1_520)
    check(is_changed=True)
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    corrected = asker.run()
    check(is_changed=True)
    done(mesh, Work.ROLL_BACK)
    check(is_changed=True)
    assert numbers(asker.run(corrected.meta.data_version)) == numbers(corrected)


def test_version_does_not_change_with_hits_of_other_days(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    version = asker.run().meta.data_version
    settle_late_hit(mesh, 6_000)
    assert asker.run().meta.data_version == version


def test_open_days_and_waiting_hits_have_no_version_to_ask_for(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    arrive(mesh, a_hit(1_520))
    waiting, other = asker.run(), asker.run(last=FIRST)
    assert (waiting.meta.pinnable, waiting.meta.state) == (False, pb.CELL_STATE_PROVISIONAL)
    assert other.meta.pinnable, "no hit of this day waits"
    mesh.settle()
    for last in ("2024-10-08", "2024-11-01"):
        found = asker.run(last=last)
        assert not found.meta.pinnable
        assert refused(asker, found.meta.data_version, last=last).reason is ErrorReason.DATA_VERSION_MISMATCH


def test_settled_answer_that_was_published_into_has_no_version_to_ask_for(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    generations, counts = mesh.stores.generations, iter(range(100))
    moving = generations.sequence
    generations.sequence = lambda site: moving(site) + next(counts)  # type: ignore[method-assign]  # publications at every read
    found = asker.run()
    assert not found.meta.pinnable
    assert ".q" in found.meta.data_version


def test_version_answers_other_questions_about_its_days(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    version, day = asker.run().meta.data_version, asker.run(last=FIRST)
    by_channel = asker.run(dimensions="channel")
    settle_late_hit(mesh, 30)
    assert asker.run(version, last=FIRST).rows == day.rows
    assert asker.run(version, dimensions="channel").rows == by_channel.rows
    found = refused(asker, version, first="2024-10-03")
    assert found.reason is ErrorReason.DATA_VERSION_MISMATCH
    assert "2024-10-03 to 2024-10-06, and data_version has 2024-10-04 to 2024-10-06" in found.message


def test_version_of_all_sites_of_a_merchant(mesh: SmallMesh) -> None:
    mesh.send([replace(a_hit(15), site=OTHER)])
    mesh.settle()
    mesh.clock.advance(1)
    asker = Asker(mesh, ServingPath.METRICS)
    together = SITE.rpartition("/")[0] + "/-"
    first = asker.run(site=together)
    assert first.meta.pinnable
    mesh.clock.advance(1)
    settle_late_hit(mesh, 1_520)
    assert numbers(asker.run(first.meta.data_version, site=together)) == numbers(first)
    assert asker.run(site=together).rows != first.rows


def test_version_of_another_site_is_refused_before_any_store_is_read(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    version = asker.run().meta.data_version
    asker.reporter.silence_cassandra()
    messages = set()
    for site in (OTHER, RIVAL, SITE.rpartition("/")[0] + "/-"):
        for text in (version, "k1-" + "A" * 54):
            found = refused(asker, text, site=site)
            assert found.reason is ErrorReason.DATA_VERSION_MISMATCH
            messages.add(found.message.replace(text, "…").replace(site, "…"))
    assert len(messages) == 1
    assert not asker.reporter.generations.refused


def test_version_expires_after_its_numbers_were_replaced_for_30_days(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    version = asker.run().meta.data_version
    settle_late_hit(mesh, 1_520)
    newer = asker.run()
    mesh.clock.advance(KEEP_REPLACED_DAYS * DAY_MS - 1_000)
    mesh.settler.run_once()
    assert asker.run(version).meta.data_version == version
    mesh.clock.advance(2_000)
    found = refused(asker, version)
    assert found.reason is ErrorReason.DATA_VERSION_EXPIRED
    assert found.message == (
        f"data_version has expired: the numbers of {SITE} on the UTC day 2024-10-05 are no longer kept. Ask without "
        "data_version for the current numbers"
    )
    mesh.clock.advance(DAY_MS)
    mesh.settler.run_once()
    assert refused(asker, version).reason is ErrorReason.DATA_VERSION_EXPIRED
    assert numbers(asker.run(newer.meta.data_version)) == numbers(newer)


def test_explanation_names_the_site_days_of_the_version(mesh: SmallMesh) -> None:
    asker = Asker(mesh, ServingPath.SERIES)
    report = asker.run().meta.request
    report.data_version = asker.run().meta.data_version
    settle_late_hit(mesh, 1_520)
    found = explain_report(asker.reporter.backend, None, pb.ExplainReportRequest(report=report))
    assert [read.site_days for read in found.reads] == [3]


@pytest.mark.parametrize("path", list(ServingPath))
@pytest.mark.parametrize("store", ["mesh", "mesh_in_files"])
def test_version_is_refused_as_erased_on_both_paths_after_a_visitor_was_erased(
    request: pytest.FixtureRequest, store: str, path: ServingPath
) -> None:
    mesh = request.getfixturevalue(store)
    mesh.send([a_hit(1_520, "erased"), replace(a_hit(1_521), site=OTHER)])
    mesh.settle()
    asker = Asker(mesh, path)
    version, other = asker.run().meta.data_version, asker.run(site=OTHER)
    erase(mesh, SITE, "erased")
    mesh.settle()
    found = refused(asker, version)
    assert (found.reason, found.metadata()["day"]) == (ErrorReason.DATA_VERSION_ERASED, "2024-10-05")
    assert found.message.startswith(f"data_version is no longer available: a visitor of {SITE} was erased")
    with pytest.raises(RefusedError) as caught:
        asker.export(version)
    assert caught.value.reason is ErrorReason.DATA_VERSION_ERASED
    newer = asker.run()
    assert numbers(asker.run(newer.meta.data_version)) == numbers(newer)
    assert numbers(asker.run(other.meta.data_version, site=OTHER)) == numbers(other)
