"""Test the command line as scripts use it: its outputs and its exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hitmesh import __version__
from hitmesh.api.control.v1 import admin_pb2
from hitmesh.api.hit.v1 import hit_pb2
from tests.e2e.asking import NOON_MS, run_query, short
from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh, one_json_line, run_command
from tests.support.messages import page_view
from tests.support.streams import StreamClient
from tests.support.tenants import authorized
from tests.support.waiting import eventually

USAGE, UNREACHABLE, NOT_READY, NOT_FOUND, INVALID = 2, 5, 6, 64 + 5, 64 + 3
LINE = '198.51.100.7 - - [{time}] "GET {target} HTTP/1.1" 200 512 "-" "Mozilla/5.0 (X11; Linux x86_64) Firefox/136.0"\n'


def access_log_of(path: Path, *targets: str) -> Path:
    times = (f"05/Mar/2026:12:00:{second:02d} +0000" for second in range(60))
    lines = (LINE.format(time=time, target=target) for time, target in zip(times, targets, strict=False))
    path.write_text("".join(lines))
    return path


# -------------------------------------------------------------------------------------------------------- exit codes


@pytest.mark.timeout(60)
def test_an_unknown_site_is_69(mesh: Mesh) -> None:
    done = mesh.run("query", "--site", "demo/nowhere", "--metrics", "visits", "--last", "7d", "-o", "json")
    assert done.code == NOT_FOUND
    assert done.out == ""
    error = one_json_line(done.err)
    assert error["code"] == 5
    assert error["details"][0]["reason"] == "NOT_FOUND"


@pytest.mark.timeout(60)
def test_an_unknown_metric_is_67_and_names_the_nearest(mesh: Mesh, new_site: NewSite) -> None:
    done = mesh.run("query", "--site", short(new_site("typo")), "--metrics", "visitz", "--last", "7d")
    assert done.code == INVALID
    assert "visits" in done.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "--site", "demo/example"],
        ["query", "--site", "no site name", "--metrics", "visits", "--last", "7d"],
        ["query", "--site", "demo/x", "--metrics", "visits", "--last", "7d", "--since", "2026-01-01"],
        ["query", "--site", "demo/x", "--metrics", "visits", "--last", "7d", "--grain", "fortnight"],
        ["import", "access-log", "/no/such/file", "--site", "demo/x"],
        ["no-such-command"],
        ["dev", "--no-such-option"],
    ],
    ids=["no metrics", "bad site", "two ranges", "bad grain", "no file", "no command", "no option"],
)
def test_wrong_usage_is_2(mesh: Mesh, arguments: list[str]) -> None:
    done = run_command(arguments, HITMESH_ENDPOINT=mesh.address)
    assert done.code == USAGE
    assert done.err
    assert done.out == ""


@pytest.mark.timeout(60)
def test_no_mesh_is_5(tmp_path: Path) -> None:
    log = access_log_of(tmp_path / "some.log", "/a")
    for arguments in (
        ["query", "--site", "demo/x", "--metrics", "visits", "--last", "7d"],
        ["sites"],
        ["send", "page", "/x", "--site", "demo/x"],
        ["import", "access-log", str(log), "--site", "demo/x"],
    ):
        assert run_command([*arguments, "--home", str(tmp_path / "nowhere")]).code == UNREACHABLE
    done = run_command(
        ["query", "--site", "demo/x", "--metrics", "visits", "--last", "7d", "--endpoint", "127.0.0.1:9"]
    )
    assert done.code == UNREACHABLE


@pytest.mark.timeout(60)
def test_another_currency_than_the_sites_is_2_and_stores_nothing(mesh: Mesh, new_site: NewSite, tmp_path: Path) -> None:
    site, log = short(new_site("euro", currency="EUR")), access_log_of(tmp_path / "some.log", "/a")
    done = mesh.run("import", "access-log", str(log), "--site", site, "--currency", "USD")
    assert done.code == USAGE
    assert "EUR" in done.err
    assert mesh.run("import", "access-log", str(log), "--site", site, "--currency", "EUR").code == 0
    assert mesh.run("import", "access-log", str(log), "--site", site).code == 0


@pytest.mark.timeout(60)
def test_numbers_that_are_not_there_in_time_are_6(mesh: Mesh, tmp_path: Path) -> None:
    log = access_log_of(tmp_path / "some.log", "/a", "/b")
    done = mesh.run("import", "access-log", str(log), "--site", "demo/too-late", "--timeout", "0", "-o", "json")
    assert done.code == NOT_READY
    assert one_json_line(done.err)["message"]


# ------------------------------------------------------------------------------------------------------ import, send


@pytest.mark.timeout(60)
def test_import_without_waiting_reports_the_stored_hits(mesh: Mesh, tmp_path: Path) -> None:
    log = access_log_of(tmp_path / "some.log", "/a", "/style.css", "/b")
    out = mesh.cli("import", "access-log", str(log), "--site", "demo/no-wait", "--no-wait", "-o", "json")
    summary = one_json_line(out)
    assert list(summary) == ["lines", "sent", "accepted", "rejected", "duplicate", "erased", "skipped"]
    assert (summary["lines"], summary["sent"], summary["accepted"], summary["rejected"]) == (3, 2, 2, 0)
    assert summary["skipped"] == {"static": 1}


@pytest.mark.timeout(60)
def test_a_sent_page_is_in_the_report_and_its_site_was_made_in_utc_and_usd(mesh: Mesh) -> None:
    mesh.cli("send", "page", "https://shop.example/hello?utm_source=letter", "--site", "demo/by-hand")

    def is_visible() -> bool:
        arguments = ("--metrics", "hits", "--dimensions", "page_path", "--last", "2d", "-o", "csv")
        return run_query(mesh, "merchants/demo/sites/by-hand", *arguments) == "page_path,hits\r\n/hello,1\r\n"

    eventually(is_visible, "the sent page is in the report", 30)
    sites = {site["site"]: site for site in one_json_line(mesh.cli("sites", "-o", "json"))}
    assert (sites["demo/by-hand"]["time_zone"], sites["demo/by-hand"]["currency"]) == ("UTC", "USD")


@pytest.mark.timeout(60)
def test_a_query_makes_no_site(mesh: Mesh) -> None:
    mesh.run("query", "--site", "demo/never-asked-for", "--metrics", "visits", "--last", "7d")
    assert "never-asked-for" not in mesh.cli("sites", "-o", "json")


# -------------------------------------------------------------------------------------------------------------- query


@pytest.fixture(scope="module")
def queried_site(mesh: Mesh, new_site: NewSite) -> str:
    """Return a site with three visitors' page views at 2026-03-05 12:00 UTC and another view at 2026-03-07."""
    site = new_site("asked")
    day_ms = 86_400_000
    views = [
        page_view("q-1", NOON_MS, "/blog/a", "v1"),
        page_view("q-2", NOON_MS + 1_500, "/blog/b", "v1"),
        page_view("q-3", NOON_MS, "/cart,now", "v2"),
        page_view("q-4", NOON_MS + 2 * day_ms, "/x;y", "v3"),
        page_view("q-5", NOON_MS, "/bot", "v4", "Googlebot/2.1 (+http://www.google.com/bot.html)"),
    ]
    with StreamClient(mesh.channel(), mesh.key, site) as stream:
        stream.send(hit_pb2.HitBatch(hits=views))
        reported = stream.finish()
    mesh.wait_visible(site, reported.receipts)
    return site


DAYS = ("--since", "2026-03-05", "--until", "2026-03-07")


@pytest.mark.timeout(60)
def test_csv_has_every_bucket_with_local_labels_and_empty_ratios(mesh: Mesh, queried_site: str) -> None:
    metrics = ("--metrics", "hits,visits,bounce_rate,visit_duration_total")
    out = run_query(mesh, queried_site, *metrics, *DAYS, "--grain", "day", "--tz", "Asia/Kathmandu", "-o", "csv")
    assert out == (
        "time,hits,visits,bounce_rate,visit_duration_total\r\n"
        "2026-03-05T00:00:00+05:45,3,2,0.5,1.5\r\n"
        "2026-03-06T00:00:00+05:45,0,0,,0\r\n"
        "2026-03-07T00:00:00+05:45,1,1,1,0\r\n"
    )


@pytest.mark.timeout(60)
def test_every_grain_labels_its_buckets_by_their_local_start(mesh: Mesh, queried_site: str) -> None:
    for grain, count, first in (
        ("hour", 72, "2026-03-05T00:00:00+11:00"),
        ("day", 3, "2026-03-05T00:00:00+11:00"),
        ("week", 1, "2026-03-05T00:00:00+11:00"),
        ("month", 1, "2026-03-05T00:00:00+11:00"),
    ):
        arguments = ("--metrics", "hits", *DAYS, "--grain", grain, "--tz", "Australia/Lord_Howe", "-o", "csv")
        header, *rows = run_query(mesh, queried_site, *arguments).splitlines()
        assert header == "time,hits"
        assert (len(rows), rows[0].partition(",")[0]) == (count, first)
        assert sum(int(row.partition(",")[2]) for row in rows) == 4


@pytest.mark.timeout(60)
def test_json_is_one_line_with_real_numbers_and_ndjson_a_line_per_row(mesh: Mesh, queried_site: str) -> None:
    arguments = ("--metrics", "hits,bounce_rate", *DAYS, "--grain", "day", "--tz", "UTC")
    answer = one_json_line(run_query(mesh, queried_site, *arguments, "-o", "json"))
    assert set(answer) == {"rows", "meta"}
    assert answer["rows"][0] == {"time": "2026-03-05T00:00:00+00:00", "hits": 3, "bounce_rate": 0.5}
    assert answer["rows"][1] == {"time": "2026-03-06T00:00:00+00:00", "hits": 0, "bounce_rate": None}
    meta = answer["meta"]
    assert (meta["time_zone"], meta["include_excluded"], meta["excluded_hits"]) == ("UTC", False, 1)
    assert meta["data_version"]
    assert meta["complete_through"]
    lines = run_query(mesh, queried_site, *arguments, "-o", "ndjson").splitlines()
    assert [json.loads(line) for line in lines] == answer["rows"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("page_path==/blog/a", 1),
        ("page_path!=/blog/a", 3),
        ("page_path=~^/blog/", 2),
        ("page_path in(/blog/a,/blog/b)", 2),
        ("page_path==/blog/a,page_path==/blog/b", 2),
        ("page_path=~^/blog/;page_path!=/blog/a", 1),
        (r"page_path==/cart\,now", 1),
        (r"page_path==/x\;y", 1),
        ("hostname==shop.example", 4),
        ("page_path==/nothing", 0),
    ],
)
def test_filters(mesh: Mesh, queried_site: str, text: str, hits: int) -> None:
    out = run_query(mesh, queried_site, "--metrics", "hits", *DAYS, "--filter", text, "-o", "csv")
    assert out == f"hits\r\n{hits}\r\n"


@pytest.mark.timeout(60)
def test_bots_are_left_out_unless_requested(mesh: Mesh, queried_site: str) -> None:
    metrics = ("--metrics", "hits,visits,bot_hits,excluded_hits", *DAYS, "-o", "csv")
    header = "hits,visits,bot_hits,excluded_hits\r\n"
    assert run_query(mesh, queried_site, *metrics) == f"{header}4,3,1,1\r\n"
    assert run_query(mesh, queried_site, *metrics, "--include-excluded") == f"{header}5,4,1,1\r\n"


@pytest.mark.timeout(60)
def test_rows_can_be_limited(mesh: Mesh, queried_site: str) -> None:
    arguments = ("--metrics", "hits", *DAYS, "--dimensions", "page_path", "-o", "csv", "--limit", "2")
    assert len(run_query(mesh, queried_site, *arguments).splitlines()) == 3


@pytest.mark.timeout(60)
def test_a_table_with_a_plot(mesh: Mesh, queried_site: str) -> None:
    out = run_query(mesh, queried_site, "--metrics", "hits,visits", *DAYS, "--grain", "day", "--plot", "-o", "table")
    assert "2026-03-05" in out
    assert "visits" in out
    assert len(out.splitlines()) > 12
    assert "\x1b" not in out


@pytest.mark.timeout(60)
def test_sites_freshness_and_version(mesh: Mesh, queried_site: str) -> None:
    names = [site["site"] for site in one_json_line(mesh.cli("sites", "-o", "json"))]
    assert short(queried_site) in names
    assert short(queried_site) in mesh.cli("sites", "-o", "table")
    fresh = one_json_line(mesh.cli("freshness", "--site", short(queried_site), "-o", "json"))
    assert fresh["state"] == "LIVE"
    assert fresh["dirty_days"] == 0
    through = datetime.fromisoformat(fresh["complete_through"])
    assert abs((datetime.now(UTC) - through).total_seconds()) < 60
    assert run_command(["version", "-o", "table"]).out == f"hitmesh {__version__}\n"
    assert one_json_line(run_command(["version", "-o", "json"]).out)["hitmesh"] == __version__


@pytest.mark.timeout(60)
def test_the_endpoint_is_found_by_option_environment_and_home(mesh: Mesh) -> None:
    assert run_command(["sites", "-o", "json", "--endpoint", mesh.address, "--home", str(mesh.home)]).code == 0
    assert run_command(["sites", "-o", "json"], HITMESH_HOME=str(mesh.home)).code == 0
    key = str(mesh.home / "keys" / "dev-server")
    assert run_command(["sites", "-o", "json"], HITMESH_ENDPOINT=mesh.address, HITMESH_KEY_FILE=key).code == 0


@pytest.mark.timeout(60)
def test_config_show_has_the_settings_that_hitmesh_dev_gave_to_its_services(mesh: Mesh) -> None:
    done = run_command(["config", "show", "--home", str(mesh.home), "-o", "json"], HITMESH_CONTROL_WORKERS="0")
    assert done.code == 0, done.err
    parts = {part["part"]: part["settings"] for part in one_json_line(done.out)["parts"]}
    assert list(parts) == ["cli", "collector", "processor", "reporter", "control"]
    stores = {
        setting["value"] for settings in parts.values() for setting in settings if setting["name"].endswith("_STORE")
    }
    assert len(stores) == 1
    node = next(setting for setting in parts["collector"] if setting["name"] == "HITMESH_COLLECTOR_NODE")
    assert (node["value"], node["origin"], node["default"]) == ("collector-0", "hitmesh dev", "dev-0")
    assert mesh.key not in done.out


@pytest.mark.timeout(60)
def test_import_that_is_too_old_for_the_key_is_67_and_names_the_remedy(
    mesh: Mesh, new_site: NewSite, tmp_path: Path
) -> None:
    site = new_site("too-old")
    request = admin_pb2.CreateIngestKeyRequest(
        parent="merchants/demo", key=admin_pb2.IngestKey(kind=admin_pb2.KEY_KIND_SERVER)
    )
    secret = mesh.admin().CreateIngestKey(request, metadata=authorized(mesh.key), timeout=60).secret
    log = tmp_path / "old.log"
    log.write_text('192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 5 "-" "Firefox"\n')
    arguments = ["import", "access-log", str(log), "--site", short(site), "--endpoint", mesh.address, "-o", "json"]
    done = run_command(arguments, HITMESH_KEY=secret)
    assert done.code == 67
    assert one_json_line(done.out)["rejected"] == 1
    assert "unboundedHistory" in done.err
