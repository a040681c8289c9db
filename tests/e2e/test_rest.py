"""Test REST through Envoy: every annotated RPC, the common form of errors, reflection, and response headers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from google.api import annotations_pb2

from hitmesh.access.rights import Door, paths_of
from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.api.control.v1 import admin_pb2, operations_pb2, reprocessing_pb2, shadow_pb2, trace_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from tests.e2e.asking import DAY, NOON_MS, short
from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh
from tests.support.messages import page_view
from tests.support.pieces import joined
from tests.support.rest import Rest, metadata_of, reason_of
from tests.support.streams import StreamClient
from tests.support.tenants import authorized
from tests.support.waiting import eventually

NOON = "2026-03-05T12:00:00Z"


@pytest.fixture(scope="module")
def rest(mesh: Mesh) -> Rest:
    return Rest(mesh, headers={"authorization": f"Bearer {mesh.key}"})


@pytest.fixture(scope="module")
def sold_site(mesh: Mesh, rest: Rest, new_site: NewSite) -> str:
    """Return a site in EUR with a visit of two hits.

    The hits are sent by REST. REST reports already contain the hits.
    """
    site = new_site("rest", currency="EUR", time_zone="Europe/Berlin")
    view = {"hitId": "a", "type": "HIT_TYPE_PAGE_VIEW", "trueTime": NOON, "visitorId": "v", "pageView": {"url": "/p"}}
    order = {
        "hitId": "b",
        "type": "HIT_TYPE_ORDER",
        "trueTime": "2026-03-05T12:00:01.500Z",
        "visitorId": "v",
        "order": {"orderId": "o-1", "currency": "EUR", "totalMicros": "19990000"},
    }
    body = {"ingestKey": mesh.key, "batchId": "rest-1", "hits": [view, order]}
    status, _, answer = Rest(mesh, headers={"hitmesh-site": site}).post("/v1/hits:send", body)
    assert status == 200, answer
    assert answer["acceptedCount"] == "2"
    ends = {(receipt["log"], receipt["partition"]): int(receipt["offset"]) for receipt in answer["receipts"]}

    def is_visible() -> bool:
        _, _, fresh = rest.get(f"/v1/{site}/freshness")
        reached = {
            (partition["log"], partition["partition"]): int(partition["nextOffset"])
            for partition in fresh["partitions"]
        }
        return int(fresh["dirtyDays"]) == 0 and all(reached.get(place, 0) > offset for place, offset in ends.items())

    eventually(is_visible, "the hits of the REST call are visible", timeout_s=30)
    return site


@pytest.mark.timeout(60)
def test_run_report(rest: Rest, mesh: Mesh, sold_site: str) -> None:
    question = {
        "metrics": ["hits", "visits", "gross_revenue", "visit_duration_total", "conversion_rate"],
        "timeRange": {"dates": {"firstDate": _date(), "lastDate": _date()}},
        "timeGrain": "TIME_GRAIN_DAY",
    }
    status, _, answer = rest.post(f"/v1/{sold_site}:runReport", question)
    assert status == 200, answer
    (row,) = answer["rows"]
    assert row["timeBucket"]["label"] == "2026-03-05T00:00:00+01:00"
    hits, visits, revenue, duration, rate = row["cells"]
    assert (hits["int64Value"], visits["int64Value"]) == ("2", "1")
    assert revenue["money"] == {"currencyCode": "EUR", "units": "19", "nanos": 990_000_000}
    assert duration["duration"] == "1.500s"
    assert rate["ratio"] == {"numerator": "1", "denominator": "1", "value": 1}
    meta = answer["meta"]
    assert meta["timeZone"] == "Europe/Berlin"
    assert meta["servedBy"] in mesh.served_by
    assert meta["dataVersion"]
    assert meta["tzdbVersion"]
    assert meta["freshness"]["completeThrough"]
    assert meta["request"]["metrics"] == question["metrics"]
    assert meta["path"] == "SERVING_PATH_SERIES"


@pytest.mark.timeout(60)
def test_explain_report_names_the_store_and_the_reason(rest: Rest, mesh: Mesh, sold_site: str) -> None:
    question = {"metrics": ["hits"], "timeRange": {"lastDays": 3}}
    status, _, totals = rest.post(f"/v1/{sold_site}:explainReport", question)
    assert (status, totals["path"]) == (200, "SERVING_PATH_SERIES"), totals
    assert totals["store"] in mesh.served_by
    assert totals["reason"]
    assert totals["request"]["site"] == sold_site
    status, _, by_channel = rest.post(f"/v1/{sold_site}:explainReport", question | {"dimensions": ["channel"]})
    assert (status, by_channel["path"]) == (200, "SERVING_PATH_METRICS"), by_channel
    assert {totals["store"], by_channel["store"]} == mesh.served_by


def _date() -> dict[str, int]:
    return {"year": DAY.year, "month": DAY.month, "day": DAY.day}


@pytest.mark.timeout(60)
def test_export_report_as_csv_and_json_by_get_and_post(rest: Rest, sold_site: str) -> None:
    query = f"metrics=hits,gross_revenue&metrics=bounce_rate&first_date={DAY}&last_date={DAY}&time_grain=day"
    status, headers, body = rest.request("GET", f"/v1/{sold_site}:export?format=csv&{query}")
    assert status == 200, body
    assert headers["content-type"].startswith("text/csv")
    assert body.decode() == "time,hits,gross_revenue,bounce_rate\r\n2026-03-05T00:00:00+01:00,2,19.99,0\r\n"
    status, headers, answer = rest.get(f"/v1/{sold_site}:export?format=json&{query}")
    assert status == 200
    assert answer["rows"] == [
        {"time": "2026-03-05T00:00:00+01:00", "hits": 2, "gross_revenue": 19.99, "bounce_rate": 0}
    ]
    assert answer["meta"]["time_zone"] == "Europe/Berlin"
    posted = {"metrics": ["hits"], "firstDate": f"{DAY}", "lastDate": f"{DAY}", "format": "ndjson"}
    status, _, body = rest.request("POST", f"/v1/{sold_site}:export", json.dumps(posted).encode())
    assert (status, json.loads(body)) == (200, {"hits": 2})


@pytest.mark.timeout(60)
@pytest.mark.parametrize("empty", ["data_version=", "dataVersion=", "data_version"])
def test_an_empty_data_version_is_the_same_as_none(rest: Rest, sold_site: str, empty: str) -> None:
    query = f"metrics=hits&first_date={DAY}&last_date={DAY}"
    for form in ("csv", "json"):
        path = f"/v1/{sold_site}:export?format={form}&{query}"
        whole, named = rest.request("GET", path), rest.request("GET", f"{path}&{empty}")
        assert (whole[0], named[0]) == (200, 200), named
        if form == "csv":
            assert named[2] == whole[2]
        else:
            answers = [json.loads(body) for _, _, body in (whole, named)]
            assert [answer["rows"] for answer in answers] == [[{"hits": 2}]] * 2
            assert answers[0]["meta"]["data_version"] == answers[1]["meta"]["data_version"] != ""
    question = {"metrics": ["hits"], "timeRange": {"lastDays": 3}}
    posted = [rest.post(f"/v1/{sold_site}:runReport", question | more) for more in ({}, {"dataVersion": ""})]
    assert [status for status, _, _ in posted] == [200, 200]
    assert posted[0][2]["rows"] == posted[1][2]["rows"]


@pytest.mark.timeout(60)
def test_a_file_beyond_4_mib_is_one_body_by_rest_and_pieces_for_a_default_stub(
    rest: Rest, mesh: Mesh, new_site: NewSite
) -> None:
    site, path = new_site("large-files"), "/" + "x" * 1_900
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        stream.send(hit_pb2.HitBatch(hits=[page_view("large", NOON_MS, path)]))
        reported = stream.finish()
    mesh.wait_visible(site, reported.receipts)
    first = DAY - dt.timedelta(days=99)  # the answer has a row with the path for each of 2,400 hours
    query = f"metrics=hits&dimensions=page_path&time_grain=hour&first_date={first}&last_date={DAY}&format=csv"
    status, headers, body = rest.request("GET", f"/v1/{site}:export?{query}")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8"), body[:1_000]
    assert len(body) > 4 << 20
    assert body.count(b"\n") == 2_401
    request = export_pb2.ExportReportRequest(
        site=site,
        metrics=["hits"],
        dimensions=["page_path"],
        time_grain="hour",
        first_date=f"{first}",
        last_date=f"{DAY}",
    )
    pieces = list(mesh.exporter().ExportReport(request, metadata=authorized(mesh.key), timeout=60))
    assert len(pieces) == -(-len(body) // (1 << 20))
    assert joined(pieces).data == body
    arguments = ("--metrics", "hits", "--dimensions", "page_path", "--grain", "hour")
    out = mesh.cli("query", "--site", short(site), *arguments, "--since", f"{first}", "--until", f"{DAY}", "-o", "csv")
    assert out.encode() == body


@pytest.mark.timeout(60)
def test_an_export_that_is_refused_has_its_status_and_no_body_of_a_file(rest: Rest, sold_site: str) -> None:
    for query, status, reason in (
        ("metrics=hts&last=1d", 400, "UNKNOWN_METRIC"),
        ("metrics=hits&last=1d&format=xlsx", 400, "UNKNOWN_FORMAT"),
    ):
        found, headers, answer = rest.get(f"/v1/{sold_site}:export?{query}")
        assert (found, reason_of(answer)) == (status, reason)
        assert headers["content-type"] == "application/json"
    found, _, answer = rest.get("/v1/merchants/demo/sites/never-made:export?metrics=hits&last=1d")
    assert (found, reason_of(answer)) == (404, "NOT_FOUND")


@pytest.mark.timeout(30)
def test_list_metrics_and_dimensions(rest: Rest) -> None:
    status, _, metrics = rest.get("/v1/metrics")
    assert status == 200
    assert {"hits", "visits", "visitors", "bounce_rate", "gross_revenue"} <= {
        metric["id"] for metric in metrics["metrics"]
    }
    status, _, dimensions = rest.get("/v1/dimensions")
    assert status == 200
    assert {dimension["id"] for dimension in dimensions["dimensions"]} == {
        *("page_path", "hostname", "channel", "source", "referrer_host", "device_type", "browser", "os"),
        *("product", "category", "brand", "site"),
    }


@pytest.mark.timeout(30)
def test_freshness(rest: Rest, sold_site: str) -> None:
    status, _, answer = rest.get(f"/v1/{sold_site}/freshness")
    assert status == 200
    assert answer["freshness"]["state"] == "FRESHNESS_STATE_LIVE"
    assert answer["partitions"]


@pytest.mark.timeout(30)
def test_sites_are_created_read_and_listed(rest: Rest) -> None:
    wanted = {"timeZone": "Asia/Tokyo", "currency": "JPY"}
    status, _, made = rest.post("/v1/merchants/demo/sites?site_id=by-rest", wanted)
    assert status == 200, made
    site = made["site"]
    assert (site["name"], site["timeZone"], site["currency"]) == ("merchants/demo/sites/by-rest", "Asia/Tokyo", "JPY")
    status, _, read = rest.get("/v1/merchants/demo/sites/by-rest")
    assert (status, read["site"]) == (200, site)
    names = list(_all_sites(rest, "merchants/demo"))
    assert "merchants/demo/sites/by-rest" in names
    assert names == sorted(set(names))
    status, _, error = rest.post("/v1/merchants/demo/sites?site_id=by-rest", {"currency": "EUR"})
    assert (status, reason_of(error)) == (409, "ALREADY_EXISTS")


def _all_sites(rest: Rest, parent: str) -> Iterator[str]:
    token = ""
    while True:
        status, _, answer = rest.get(f"/v1/{parent}/sites?page_size=2&page_token={token}")
        assert status == 200, answer
        yield from (site["name"] for site in answer["sites"])
        token = answer["nextPageToken"]
        if not token:
            return


@pytest.mark.timeout(30)
def test_keys_are_created_and_revoked(rest: Rest, mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("rest-keys")
    status, _, made = rest.post("/v1/merchants/demo/ingestKeys", {"kind": "KEY_KIND_BROWSER", "site": site})
    assert status == 200, made
    batch = {"ingestKey": made["secret"], "hits": [{"type": "HIT_TYPE_PAGE_VIEW", "pageView": {"url": "/"}}]}
    batch["hits"][0]["visitorId"] = "v"
    status, _, answer = Rest(mesh).post("/v1/hits:send", batch)
    assert (status, answer["acceptedCount"]) == (200, "1")
    status, _, revoked = rest.post(f"/v1/{made['key']['name']}:revoke", {})
    assert status == 200, revoked
    assert revoked["key"]["revokeTime"]

    def is_refused() -> bool:
        status, _, answer = Rest(mesh).post("/v1/hits:send", batch)
        return status == 401 and reason_of(answer) == "KEY_REVOKED"

    eventually(is_refused, "the revoked key is refused", timeout_s=2)


@pytest.mark.timeout(30)
def test_a_sender_beyond_its_quota_gets_429_with_the_wait_and_the_quota(
    rest: Rest, mesh: Mesh, new_site: NewSite
) -> None:
    site = new_site("rest-quota")
    operator = Rest(mesh, {"authorization": f"Bearer {mesh.operator_key}"}, for_operators=True)
    wanted = {"quota": {"name": f"{site}/quota", "hitsPerSecond": "1"}, "updateMask": "hitsPerSecond"}
    status, _, body = operator.request("PATCH", "/v1/quotas", json.dumps(wanted).encode())
    assert status == 200, body
    view = {"type": "HIT_TYPE_PAGE_VIEW", "visitorId": "v", "pageView": {"url": "/"}}
    batch = {"ingestKey": mesh.key, "hits": [view] * 100}
    sender = Rest(mesh, {"hitmesh-site": site})

    def refusal() -> tuple[dict[str, str], dict[str, object]] | None:
        status, headers, answer = sender.post("/v1/hits:send", batch)
        return (headers, answer) if status == 429 else None

    headers, error = eventually(refusal, "the collector applies the quota")
    assert reason_of(error) == "QUOTA"
    assert metadata_of(error)["subject"] == site
    assert headers["ratelimit-policy"] == '"site_hits";q=1;w=1'
    assert headers["ratelimit"] == f'"site_hits";r=0;t={headers["retry-after"]}'
    status, _, shown = rest.get(f"/v1/{site}/quota")
    assert (status, shown["quota"]["hitsPerSecond"], shown["effective"]["hitsPerSecond"]) == (200, "1", "1"), shown

    def is_used() -> bool:
        assert refusal()
        found = rest.get(f"/v1/{site}/quota")[2]["usage"]
        return bool(found["refusedHitsPerSecond"])

    eventually(is_used, "the collector reports the refused hits")


def _annotated() -> Iterator[tuple[str, str, str]]:
    """Yield (RPC, HTTP method, path template) for every binding in the contract."""
    control = (admin_pb2, operations_pb2, reprocessing_pb2, shadow_pb2, trace_pb2)
    for file in (collector_pb2, json_pb2, reporter_pb2, export_pb2, *control):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                options = method.GetOptions()
                if options.HasExtension(annotations_pb2.http):
                    rule = options.Extensions[annotations_pb2.http]
                    for binding in (rule, *rule.additional_bindings):
                        kind = str(binding.WhichOneof("pattern"))
                        yield f"{service.name}.{method.name}", kind.upper(), str(getattr(binding, kind))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("rpc", "method", "template"), sorted(_annotated()))
def test_every_annotated_rpc_is_behind_its_rest_path(rest: Rest, rpc: str, method: str, template: str) -> None:
    path = template
    for name in ("site", "site.name", "name", "parent"):
        path = path.replace(f"{{{name}=merchants/*/sites/*}}", "merchants/demo/sites/nowhere")
    path = path.replace("{name=merchants/*/sites/*/exclusionRules/*}", "merchants/demo/sites/nowhere/exclusionRules/1")
    path = path.replace("{name=merchants/*/quota}", "merchants/demo/quota")
    path = path.replace("{name=merchants/*/sites/*/quota}", "merchants/demo/sites/nowhere/quota")
    path = path.replace("{name=merchants/*/ingestKeys/*/quota}", "merchants/demo/ingestKeys/none/quota")
    path = path.replace("{parent=merchants/*}", "merchants/demo").replace("{name=merchants/*}", "merchants/demo")
    for name in ("name", "key.name"):
        path = path.replace(f"{{{name}=merchants/*/ingestKeys/*}}", "merchants/demo/ingestKeys/none")
    path = path.replace("{name=reprocessings/*}", "reprocessings/none")
    assert "{" not in path
    body = b"{}" if method in ("POST", "PATCH") else None
    is_of_operators = any(known.endswith(f".{rpc.replace('.', '/')}") for known in paths_of(Door.OPERATORS))
    status, headers, body = replace(rest, for_operators=is_of_operators).request(method, path, body)
    assert headers["content-type"].startswith(("application/json", "text/csv")), (rpc, status, body)
    assert b"nothing at this path" not in body, rpc
    assert status < 500, (rpc, body)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.timeout(30)
def test_errors_of_a_service_have_the_common_shape(rest: Rest, sold_site: str) -> None:
    query = f"first_date={DAY}&last_date={DAY}"
    status, _, error = rest.get(f"/v1/{sold_site}:export?metrics=visitz&{query}")
    assert status == 400
    assert error["code"] == 3
    assert "visits" in error["message"]
    assert reason_of(error) == "UNKNOWN_METRIC"
    variables = metadata_of(error)
    assert variables["value"] == "visitz"
    assert variables["similar"].startswith("visits, ")
    violations = next(detail for detail in error["details"] if detail["@type"].endswith("BadRequest"))[
        "fieldViolations"
    ]
    assert violations[0]["field"] == variables["field"]
    status, _, error = rest.get(f"/v1/merchants/demo/sites/nowhere:export?metrics=visits&{query}")
    assert (status, error["code"], reason_of(error)) == (404, 5, "NOT_FOUND")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/", None, 404, 5),
        ("GET", "/v1/no/such/path", None, 404, 5),
        ("GET", "/v1/metrics?no_such_parameter=1", None, 400, 3),
        ("POST", "/v1/merchants/demo/sites/any:runReport", b"{", 400, 3),
        ("POST", "/v1/merchants/demo/sites/any:runReport", b'{"metrics": [1, 2}', 400, 3),
        ("POST", "/v1/hits:send", b'{"x": "' + b"y" * (3 << 20) + b'"}', 413, 8),
    ],
    ids=["root", "unknown path", "unknown parameter", "cut json", "broken json", "too large"],
)
def test_errors_of_envoy_have_the_common_shape(
    mesh: Mesh, method: str, path: str, body: bytes | None, status: int, code: int
) -> None:
    answered, headers, answer = Rest(mesh).request(method, path, body)
    assert answered == status, answer
    assert headers["content-type"].startswith("application/json")
    error = json.loads(answer)
    assert error["code"] == code
    assert reason_of(error)
    assert status != 413 or "2,097,152" in error["message"], "names the limit"


@pytest.mark.timeout(30)
def test_an_unknown_parameter_of_a_report_is_refused(rest: Rest, sold_site: str) -> None:
    status, _, error = rest.get(f"/v1/{sold_site}:export?metrics=hits&first_date={DAY}&last_date={DAY}&time_graiin=day")
    assert (status, error["code"]) == (400, 3)


@pytest.mark.timeout(30)
def test_every_answer_has_a_request_id_and_a_sent_one_comes_back(mesh: Mesh) -> None:
    rest = Rest(mesh)
    _, headers, _ = rest.request("GET", "/v1/metrics")
    assert headers["x-request-id"]
    _, headers, _ = rest.request("GET", "/no/such/path")
    assert headers["x-request-id"]
    _, headers, _ = rest.request("GET", "/v1/metrics", None, **{"x-request-id": "my-own-id-7"})
    assert headers["x-request-id"] == "my-own-id-7"


@pytest.mark.timeout(30)
def test_an_export_has_complete_through_in_a_header(rest: Rest, sold_site: str) -> None:
    _, headers, _ = rest.request("GET", f"/v1/{sold_site}:export?metrics=hits&first_date={DAY}&last_date={DAY}")
    assert headers["x-hitmesh-complete-through"].endswith("Z")
