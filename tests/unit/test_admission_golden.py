"""Records of every released schema version stay readable. Admission gives the same rows for the same bytes.

The files in tests/golden are never changed. For a new schema version, `write_golden` writes additional files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from collector.admission import Admitted
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.rows.columns import HITS_COLUMNS, REJECTED_COLUMNS, pack_record, unpack_record
from tests.support.admitting import EDGE, FIREFOX, NOW, a_batch, a_hit, admitted
from tests.unit.test_admission_payloads import ONE_OF_EACH

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# Admission derives these columns from lists of user agents, referrers and campaigns. If one of the lists changes,
# the golden values of these columns may change. The golden values of all other columns must stay the same.
CLASSIFIED = ("device_type", "browser", "os", "channel", "source", "medium", "referrer_host")


def the_micro_batch() -> Admitted:
    """Return a batch with a hit of each type, a hit with a complete context, and a hit that is refused."""
    context = hit_pb2.Context(
        campaign=hit_pb2.Campaign(
            source="news", medium="email", campaign="spring", term="t", content="c", click_id="g1"
        ),
        device=hit_pb2.Device(user_agent=FIREFOX),
        locale=hit_pb2.Locale(language="de-AT"),
    )
    page = hit_pb2.PageView(
        url="https://Shop.example:8443/ä?q=🛒#top",
        title='quote" back\\',
        referrer="https://www.google.com/",
        http_status=200,
    )
    full = a_hit(
        "full", at=NOW - 5_000, page_view=page, context=context, properties={"k": hit_pb2.PropertyValue(int_value=7)}
    )
    refused = a_hit("refused", type=8, order=hit_pb2.Order(order_id="1", currency="XXY"))
    edge = hit_pb2.EdgeContext(country="AT", client_ip="203.0.113.77")
    edge.edge_receive_time.FromMilliseconds(NOW - 700)
    return admitted(
        a_batch(*ONE_OF_EACH.values()),
        a_batch(full, refused, key=EDGE, batch_id="b2", sent=NOW - 2_000, edge=edge),
    )


def plain(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON values, in which bytes are hexadecimal."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows.iter_rows(named=True)]


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return [_plain(each) for each in value] if isinstance(value, list) else value


def parts(found: Admitted) -> Iterator[tuple[str, pl.DataFrame]]:
    yield "hits_v1", found.hits.sort("frame", "batch_index").select(*HITS_COLUMNS)
    yield "rejected_v1", found.rejected.sort("frame", "batch_index").select(*REJECTED_COLUMNS)


def write_golden() -> None:
    """Write the files of the present schema version. A developer calls this function once per version."""
    for name, rows in parts(the_micro_batch()):
        (GOLDEN / f"{name}.arrows").write_bytes(pack_record(rows))
        text = json.dumps(plain(rows), indent=1, ensure_ascii=False, sort_keys=True)
        (GOLDEN / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def expected(name: str) -> list[dict[str, Any]]:
    """Return the rows of a file, with null in columns that its schema version did not have."""
    rows: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    since = {"refund_id": None, "network": None} if name.startswith("hits") else {"origin": None}
    return [since | row for row in rows]


def test_a_record_of_hits_of_version_1_stays_readable() -> None:
    rows = unpack_record((GOLDEN / "hits_v1.arrows").read_bytes(), HITS_COLUMNS)
    assert dict(rows.schema) == HITS_COLUMNS
    assert plain(rows) == expected("hits_v1")


def test_a_record_of_refusals_of_version_1_stays_readable() -> None:
    rows = unpack_record((GOLDEN / "rejected_v1.arrows").read_bytes(), REJECTED_COLUMNS)
    assert dict(rows.schema) == REJECTED_COLUMNS
    assert plain(rows) == expected("rejected_v1")


def test_the_same_bytes_are_admitted_as_they_were_in_version_1() -> None:
    (_, hits), (_, rejected) = parts(the_micro_batch())
    before = expected("hits_v1")
    assert len(before) == hits.height
    for row, then in zip(plain(hits), before, strict=True):
        assert {name: value for name, value in row.items() if name not in CLASSIFIED} == {
            name: value for name, value in then.items() if name not in CLASSIFIED
        }
    # The texts of error messages may change.
    columns = [name for name in REJECTED_COLUMNS if name not in ("message", "origin")]
    assert plain(rejected.select(columns)) == [{name: row[name] for name in columns} for row in expected("rejected_v1")]


def test_columns_that_a_record_lacks_read_as_null() -> None:
    rows = unpack_record((GOLDEN / "hits_v1.arrows").read_bytes(), HITS_COLUMNS)
    older = unpack_record(pack_record(rows.drop("properties", "total")), HITS_COLUMNS)
    assert older.drop("properties", "total").equals(rows.drop("properties", "total"))
    assert older.select("properties", "total").null_count().row(0) == (rows.height, rows.height)
