"""Test values that need quotes or escapes, in every format of an answer and in filters."""

from __future__ import annotations

import csv
import io
import json

import pytest

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from hitmesh.model.dates import date_message
from tests.e2e.asking import DAY, NOON_MS, run_query
from tests.e2e.conftest import NewSite
from tests.support.comparison import Question, ask
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.pieces import joined
from tests.support.streams import StreamClient

HARD_PATHS = (
    '/quote"in"it',
    "/it's",
    "/ends-with-backslash\\",
    "/comma,semi;colon",
    "/two\nlines",
    "/carriage\r\nreturn",
    "/tab\there",
    "/עברית-مرحبا",
    "/emoji-🛒👩‍👩‍👧",
    "/combining-é",
    "/=cmd()",
    "/%2F%zz",
    "/back`tick$(x)",
    "/\u2028separator",
)


@pytest.fixture(scope="module")
def hard_site(mesh: Mesh, new_site: NewSite) -> str:
    """Return a site with one view per difficult path. The paths are sent as screen names, which no URL rule changes."""
    site = new_site("hard-values")
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        hits = []
        for number, path in enumerate(HARD_PATHS):
            hit = page_view(f"hard-{number}", NOON_MS, visitor=f"v-{number}")
            hit.type = hit_pb2.HIT_TYPE_SCREEN_VIEW
            hit.screen_view.screen_name = path
            hits.append(hit)
        stream.send(hit_pb2.HitBatch(hits=hits))
        reported = stream.finish()
    assert reported.issues == []
    mesh.wait_visible(site, reported.receipts)
    return site


@pytest.mark.timeout(60)
def test_hard_values_come_back_as_they_were_sent_in_typed_answers(mesh: Mesh, hard_site: str) -> None:
    question = Question(hard_site, DAY, DAY, metrics=("hits", "visits"), dimensions=("page_path",))
    answer = ask(mesh.reporter(), question)
    assert answer == {("", path): {"hits": 1, "visits": 1} for path in HARD_PATHS}


@pytest.mark.timeout(60)
def test_hard_values_come_back_as_they_were_sent_in_csv_and_json(mesh: Mesh, hard_site: str) -> None:
    arguments = ("--metrics", "hits", "--dimensions", "page_path", "--since", f"{DAY}", "--until", f"{DAY}")
    out = run_query(mesh, hard_site, *arguments, "-o", "csv")
    rows = list(csv.reader(io.StringIO(out, newline="")))
    assert rows[0] == ["page_path", "hits"]
    assert sorted(path for path, _ in rows[1:]) == sorted(HARD_PATHS)
    answer = json.loads(run_query(mesh, hard_site, *arguments, "-o", "json"))
    assert sorted(row["page_path"] for row in answer["rows"]) == sorted(HARD_PATHS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("path", HARD_PATHS)
def test_hard_values_work_in_filters(mesh: Mesh, hard_site: str, path: str) -> None:
    escaped = "".join(f"\\{char}" if char in "\\,;()" else char for char in path)
    pieces = mesh.exporter().ExportReport(
        export_pb2.ExportReportRequest(
            site=hard_site,
            metrics=["hits"],
            dimensions=["page_path"],
            first_date=f"{DAY}",
            last_date=f"{DAY}",
            filter=f"page_path=={escaped}",
            format="json",
        ),
        timeout=60,
    )
    assert json.loads(joined(pieces).data)["rows"] == [{"page_path": path, "hits": 1}]
    typed_filter = reporter_pb2.Filter(
        dimension_filter=reporter_pb2.DimensionFilter(
            dimension="page_path", operator=reporter_pb2.FILTER_OPERATOR_IN, values=[path, "/never"]
        )
    )
    day = date_message(DAY)
    report = mesh.reporter().RunReport(
        reporter_pb2.RunReportRequest(
            site=hard_site,
            metrics=["hits"],
            dimensions=["page_path"],
            time_range=reporter_pb2.TimeRange(dates=reporter_pb2.DateRange(first_date=day, last_date=day)),
            filter=typed_filter,
        ),
        timeout=60,
    )
    assert [(row.dimension_values[0], row.cells[0].int64_value) for row in report.rows] == [(path, 1)]
