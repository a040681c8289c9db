"""Test the import rules on lines and real files: lines that become hits, and lines that are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.keys import hash64
from hitmesh.tools.importers import access_log
from hitmesh.tools.importers.lines import Line, Tally, hit_id, read_lines
from tests.reference.files import read_access_log

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_real_files = pytest.mark.skipif(not SHARED.is_dir(), reason="the real input files are not there")


def an_access_line(
    request: str = "GET /a HTTP/1.1", status: int = 200, time: str = "17/May/2015:10:05:03 +0000", rest: str = ""
) -> bytes:
    return f'83.149.9.216 - - [{time}] "{request}" {status} 203{rest}\n'.encode()


def an_agent(agent: str, referrer: str = "-") -> str:
    return f' "{referrer}" "{agent}"'


def read_access(*lines: bytes) -> tuple[list[hit_pb2.Hit], dict[str, int]]:
    tally = Tally()
    hits = list(access_log.read(lines, tally))
    assert tally.lines == len(lines) == len(hits) + tally.skipped.total()
    return hits, {reason.value: count for reason, count in tally.skipped.items()}


# ---- lines


def test_lines_lose_their_ends_and_the_first_its_byte_order_mark() -> None:
    lines = list(read_lines([b"\xef\xbb\xbfa\r\n", b"b\n", b"c\xff"]))
    assert lines == [Line(1, "a"), Line(2, "b"), Line(3, "c\ufffd")]


def test_hit_id_is_line_number_and_the_projects_hash_of_the_line() -> None:
    assert hit_id(Line(42, "héllo")) == f"000000000042-{hash64('héllo'):016x}"
    assert hit_id(Line(1, "")) == f"000000000001-{hash64(''):016x}"


# ---- access log


def test_a_combined_line_becomes_a_page_view_with_all_its_fields() -> None:
    [hit], skipped = read_access(an_access_line(rest=an_agent("Mozilla/5.0", "http://a.example/?q=1")))
    assert skipped == {}
    assert hit.type == hit_pb2.HIT_TYPE_PAGE_VIEW
    assert hit.page_view == hit_pb2.PageView(url="/a", referrer="http://a.example/?q=1", http_status=200)
    assert hit.context.device.user_agent == "Mozilla/5.0"
    assert hit.true_time.ToJsonString() == "2015-05-17T10:05:03Z"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("17/May/2015:10:05:03 +0545", "2015-05-17T04:20:03Z"),
        ("17/may/2015:23:05:03 -0330", "2015-05-18T02:35:03Z"),
        ("29/Feb/2016:00:00:00 +0000", "2016-02-29T00:00:00Z"),
    ],
)
def test_local_time_of_the_log_becomes_utc(time: str, expected: str) -> None:
    [hit], _ = read_access(an_access_line(time=time))
    assert hit.true_time.ToJsonString() == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"garbage\n",
        an_access_line("GET"),
        an_access_line("-"),
        an_access_line(""),
        an_access_line("GET "),
        an_access_line('GET /a" HTTP/1.1'),
        an_access_line(time="31/Feb/2015:10:05:03 +0000"),
        an_access_line(time="17/Mai/2015:10:05:03 +0000"),
        an_access_line(time="17/May/2015:10:61:03 +0000"),
        an_access_line(time="17/May/2015:10:05:03 +2500"),
        an_access_line(time="17/May/0000:10:05:03 +0000"),
        an_access_line(time="17/May/2015 10:05:03"),
        an_access_line("GET /" + "a" * (1 << 20)),
    ],
)
def test_lines_without_the_shape_of_a_log_are_unparsable(line: bytes) -> None:
    hits, skipped = read_access(an_access_line(), line)
    assert (len(hits), skipped) == (1, {"unparsable": 1})


@pytest.mark.parametrize(
    ("request_line", "status", "reason"),
    [
        ("POST /a.css HTTP/1.1", 500, "method"),
        ("get /a HTTP/1.1", 200, "method"),
        ("HEAD /a HTTP/1.1", 200, "method"),
        ("GET /a.css HTTP/1.1", 404, "status"),
        ("GET /a HTTP/1.1", 301, "status"),
        ("GET /a HTTP/1.1", 100, "status"),
        ("GET /a.css HTTP/1.1", 200, "static"),
        ("GET /x/B.JPEG?v=1 HTTP/1.1", 304, "static"),
        ("GET http://a.example/feed.atom HTTP/1.1", 200, "static"),
        ("GET /.png HTTP/1.1", 200, "static"),
    ],
)
def test_first_reason_that_applies_is_counted(request_line: str, status: int, reason: str) -> None:
    assert read_access(an_access_line(request_line, status)) == ([], {reason: 1})


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/a", 200),
        ("/a", 204),
        ("/a", 299),
        ("/a", 304),
        ("/png", 200),
        ("/a.css/", 200),
        ("/a.css/b", 200),
        ("/a.html?file=x.css", 200),
        ("/?redirect=/x.png", 200),
        ("http://shop.zip", 200),
        ("http://shop.zip/a", 200),
        ("*", 200),
    ],
)
def test_pages_are_kept_with_their_target_as_it_stands(target: str, status: int) -> None:
    [hit], _ = read_access(an_access_line(f"GET {target} HTTP/1.1", status))
    assert (hit.page_view.url, hit.page_view.http_status) == (target, status)


def test_target_is_the_second_token_also_without_a_protocol() -> None:
    hits, _ = read_access(an_access_line("GET /a"), an_access_line("GET  /b HTTP/1.0"))
    assert [hit.page_view.url for hit in hits] == ["/a", "/b"]


def test_visitor_is_host_and_user_agent_where_missing_is_empty() -> None:
    hits, _ = read_access(
        an_access_line(),
        an_access_line(rest=an_agent("-")),
        an_access_line(rest=an_agent("")),
        an_access_line(rest=an_agent("Mozilla/5.0")),
        an_access_line().replace(b"83.149.9.216", b"83.149.9.21"),
    )
    none, dash, empty, agent, other_host = (hit.visitor_id for hit in hits)
    assert none == dash == empty
    assert len({none, agent, other_host}) == 3
    assert access_log.visitor_id("ab", "c") != access_log.visitor_id("a", "bc")
    assert all(len(hit.visitor_id) == 32 for hit in hits)


def test_user_agent_cut_short_at_the_end_of_the_line_still_counts() -> None:
    [hit], _ = read_access(an_access_line(rest=' "-" "Mozilla/5.0 (compat'))
    assert hit.context.device.user_agent == "Mozilla/5.0 (compat"


def test_user_name_with_blanks_and_brackets_is_no_obstacle() -> None:
    [hit], _ = read_access(an_access_line().replace(b" - - [", b" - a [b] c ["))
    assert hit.page_view.url == "/a"


def test_control_characters_and_broken_utf8_do_not_stop_the_import() -> None:
    hits, skipped = read_access(
        an_access_line("GET /a\x00b\x1b[2J"),
        an_access_line(rest=an_agent("\x00")),
        an_access_line().replace(b"/a ", b"/\xff\xfe "),
        an_access_line("GET /ok"),
    )
    assert skipped == {}
    assert [hit.page_view.url for hit in hits] == ["/a\x00b\x1b[2J", "/a", "/%FF%FE", "/ok"]


def test_campaigns_are_left_to_admission() -> None:
    [hit], _ = read_access(an_access_line("GET /a?utm_source=news&gclid=x1 HTTP/1.1"))
    assert hit.page_view.url == "/a?utm_source=news&gclid=x1"
    assert not hit.context.HasField("campaign")


@needs_real_files
def test_real_access_log_gives_3908_page_views_and_the_known_reasons() -> None:
    tally = Tally()
    with (SHARED / "access.log").open("rb") as lines:
        hits = list(access_log.read(lines, tally))
    assert (tally.lines, len(hits)) == (10_000, 3_908)
    assert {reason.value: count for reason, count in tally.skipped.items()} == {
        "static": 5_673,
        "status": 371,
        "method": 48,
    }
    expected, _ = read_access_log(SHARED / "access.log", "merchants/demo/sites/weblog")
    assert [(hit.hit_id, hit.true_time.ToMilliseconds(), hit.page_view.url) for hit in hits] == [
        (hit.hit_id, hit.event_time, hit.url) for hit in expected
    ]
    names: dict[str, str] = {}
    for hit, reference in zip(hits, expected, strict=True):
        assert names.setdefault(hit.visitor_id, reference.visitor) == reference.visitor
    assert len(set(names.values())) == len(names)
