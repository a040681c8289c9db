"""Test access logs in every format: parsing, detection of the format, the client's address, and the ids."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import RefusedError
from hitmesh.tools.cli.import_log import FORMATS
from hitmesh.tools.importers.access_log import DEFAULT, LogOptions, read
from hitmesh.tools.importers.lines import LineIds, Tally
from hitmesh.tools.importers.log_formats import LogFormat

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
COMBINED = (
    f'198.51.100.10 - - [10/Mar/2025:10:00:00 +0000] "GET /a HTTP/1.1" 200 10 "https://news.example/" "{FIREFOX}"'
)
COMMON = '198.51.100.10 - - [10/Mar/2025:10:00:00 +0000] "GET /a HTTP/1.1" 200 10'
CADDY = {
    "level": "info",
    "ts": 1741600800.25,
    "logger": "http.log.access",
    "msg": "handled request",
    "request": {
        "remote_ip": "198.51.100.10",
        "proto": "HTTP/2.0",
        "method": "GET",
        "host": "shop.example",
        "uri": "/a",
        "headers": {"User-Agent": [FIREFOX], "Referer": ["https://news.example/"]},
    },
    "status": 200,
}
NGINX_JSON = {
    "time_iso8601": "2025-03-10T11:00:00+01:00",
    "remote_addr": "198.51.100.10",
    "request": "GET /a HTTP/1.1",
    "status": "200",
    "http_host": "shop.example",
    "http_referer": "https://news.example/",
    "http_user_agent": FIREFOX,
    "http_x_forwarded_for": "203.0.113.7, 192.0.2.1",
}
TRAEFIK = {
    "ClientHost": "198.51.100.10",
    "DownstreamStatus": 200,
    "RequestHost": "shop.example",
    "RequestMethod": "GET",
    "RequestPath": "/a",
    "request_User-Agent": FIREFOX,
    "request_Referer": "https://news.example/",
    "time": "2025-03-10T10:00:00Z",
}
IIS_AGENT = FIREFOX.replace(" ", "+")
IIS = f"""#Software: Microsoft Internet Information Services 10.0
#Version: 1.0
#Date: 2025-03-10 10:00:00
#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query c-ip cs(User-Agent) cs(Referer) cs-host sc-status
2025-03-10 10:00:00 10.0.0.1 GET /a - 198.51.100.10 {IIS_AGENT} https://news.example/ shop.example 200"""
CLOUDFRONT = "\n".join(
    (
        "#Version: 1.0",
        "#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) "
        "cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header",
        "2025-03-10\t10:00:00\tFRA2\t10\t198.51.100.10\tGET\td1.cloudfront.net\t/a\t200\thttps://news.example/\t"
        f"{FIREFOX.replace(' ', '%2520')}\t-\t-\tHit\tx==\tshop.example",
    )
)
ALB = (
    "https 2025-03-10T10:00:00.000000Z app/lb/50dc 198.51.100.10:4711 10.0.0.1:80 0.0 0.0 0.0 200 200 34 366 "
    f'"GET https://shop.example:443/a HTTP/1.1" "{FIREFOX}" TLS_AES_128 TLSv1.3 arn:aws:x "Root=1-5"'
)
LOGS = [
    ("combined", COMBINED, "/a", True),
    ("common", COMMON, "/a", False),
    ("vhost_combined", f"shop.example:443 {COMBINED}", "https://shop.example:443/a", True),
    ("vhost_combined", f"shop.example {COMBINED}", "https://shop.example/a", True),
    ("caddy", json.dumps(CADDY), "https://shop.example/a", True),
    ("json", json.dumps(NGINX_JSON), "https://shop.example/a", True),
    ("json", json.dumps(TRAEFIK), "https://shop.example/a", True),
    ("w3c", IIS, "https://shop.example/a", True),
    ("cloudfront", CLOUDFRONT, "https://shop.example/a", True),
    ("cloudfront", CLOUDFRONT.splitlines()[-1], "https://shop.example/a", True),
    ("alb", ALB, "https://shop.example:443/a", None),
    ("alb", ALB.removeprefix("https "), "https://shop.example:443/a", None),
]


def imported(log: str | bytes | Iterable[bytes], options: LogOptions = DEFAULT) -> tuple[list[hit_pb2.Hit], Tally]:
    tally = Tally()
    if isinstance(log, str):
        log = log.encode("utf-8", "surrogateescape")
    lines = log.splitlines(keepends=True) if isinstance(log, bytes) else log
    return list(read(lines, tally, options)), tally


def hit_of(log: str | bytes, **options: object) -> hit_pb2.Hit:
    (hit,), tally = imported(log, LogOptions(**options))  # type: ignore[arg-type]  # as the caller names them
    assert tally.lines == 1
    return hit


@pytest.mark.parametrize(("name", "log", "url", "has_headers"), LOGS)
@pytest.mark.parametrize("choice", ["auto", "by name"])
def test_a_line_gives_the_same_hit_in_every_format(
    name: str, log: str, url: str, has_headers: bool | None, choice: str
) -> None:
    hits, tally = imported(log, LogOptions(format=LogFormat.AUTO if choice == "auto" else LogFormat(name)))
    assert (tally.format, tally.lines, dict(tally.skipped)) == (name, 1, {})
    assert (hits[0].page_view.url, hits[0].page_view.http_status, hits[0].true_time.seconds) == (
        url,
        200,
        1_741_600_800,
    )
    assert hits[0].page_view.referrer == ("https://news.example/" if has_headers else "")
    assert hits[0].context.device.user_agent == ("" if has_headers is False else FIREFOX)
    if has_headers is not False:
        assert hits[0].visitor_id == hit_of(COMBINED).visitor_id


def test_the_command_takes_every_format() -> None:
    assert tuple(LogFormat) == FORMATS


def test_times_are_as_fine_as_the_log_writes_them() -> None:
    assert hit_of(json.dumps(CADDY)).true_time.ToMicroseconds() == 1_741_600_800_250_000
    for written in (1741600800, 1741600800000, "1741600800.000", "2025/03/10 10:00:00", "10/Mar/2025:11:00:00 +0100"):
        assert hit_of(json.dumps(CADDY | {"ts": written})).true_time.ToMicroseconds() == 1_741_600_800_000_000


@pytest.mark.parametrize("log", ["garbage\n", "{}\n[]\n", "a,b,c\n1,2,3\n", "\x00\xff\x00", '{"ts": 1e999}'])
def test_a_file_of_which_nothing_can_be_read_is_refused(log: str) -> None:
    with pytest.raises(RefusedError, match="can be read as an access log") as caught:
        imported(log.encode("latin-1"))
    assert caught.value.reason == "INVALID_FILE"


@pytest.mark.parametrize("log", ["", "#Version: 1.0\n#Fields: date time\n"])
def test_a_log_without_requests_is_read_as_nothing(log: str) -> None:
    hits, tally = imported(log)
    assert (hits, tally.lines) == ([], 0)


def test_the_format_is_that_of_most_of_the_first_lines() -> None:
    hits, tally = imported("\n".join(["junk", json.dumps(CADDY), *[COMBINED] * 3, COMMON]))
    assert (tally.format, len(hits), dict(tally.skipped)) == ("combined", 4, {"unparsable": 2})


@pytest.mark.parametrize(
    ("request_line", "target"),
    [
        ("GET /Annual report 2016 HTTP/1.1", "/Annual report 2016"),
        ("GET /a b", "/a b"),
        (r"GET /say\"hi\"\\ HTTP/1.1", '/say"hi"\\'),
        (r"GET /caf\xc3\xa9 HTTP/1.1", "/café"),
        (r"GET /\xff\x22 HTTP/1.1", '/%FF"'),
        ("GET /back\\slash\\", "/back\\slash\\"),
        ("GET /a HTTP/1.1 HTTP/1.1", "/a HTTP/1.1"),
    ],
)
def test_a_target_is_all_between_method_and_protocol(request_line: str, target: str) -> None:
    assert hit_of(COMBINED.replace("GET /a HTTP/1.1", request_line)).page_view.url == target


def test_quotes_in_referrers_and_user_agents_are_unescaped() -> None:
    hit = hit_of(COMMON + r' "https://a.example/?q=\"x\"" "say \"hi\" \x22 \xc3\xa9"')
    assert hit.page_view.referrer == 'https://a.example/?q="x"'
    assert hit.context.device.user_agent == 'say "hi" " é'


@pytest.mark.parametrize(
    ("line", "options", "url"),
    [
        (COMBINED, {"host": "shop.example"}, "https://shop.example/a"),
        (f"blog.example:80 {COMBINED}", {"host": "shop.example"}, "https://blog.example:80/a"),
        (f"_:80 {COMBINED}", {"host": "shop.example"}, "https://shop.example/a"),
        (f"-:80 {COMBINED}", {"host": "shop.example"}, "https://shop.example/a"),
        (COMBINED.replace("/a", "http://x.example/a"), {"host": "shop.example"}, "http://x.example/a"),
        (COMBINED.replace("/a", "*"), {"host": "shop.example"}, "*"),
        (json.dumps(CADDY | {"request": {**CADDY["request"], "host": "a b/c"}}), {}, "/a"),  # type: ignore[dict-item]
    ],
)
def test_the_host_comes_from_the_log_and_else_from_the_option(line: str, options: dict[str, str], url: str) -> None:
    assert hit_of(line, **options).page_view.url == url


@pytest.mark.parametrize(
    ("referrer", "kept"),
    [
        ("https://shop.example/a", False),
        ("https://user@WWW.Shop.Example:443?x", False),
        ("https://notshop.example/", True),
        ("https://shop.example.evil.example/", True),
        ("shop.example", True),
    ],
)
def test_referrers_at_own_hosts_are_left_out(referrer: str, kept: bool) -> None:
    hit = hit_of(COMBINED.replace("https://news.example/", referrer), own_hosts=frozenset({"shop.example"}))
    assert hit.page_view.referrer == (referrer if kept else "")


def visitor_of(client: str) -> str:
    return hit_of(COMBINED.replace("198.51.100.10", client)).visitor_id


@pytest.mark.parametrize(
    ("hops", "client"),
    [(0, "198.51.100.10"), (1, "192.0.2.1"), (2, "203.0.113.7"), (3, "10.9.9.9"), (9, "10.9.9.9")],
)
@pytest.mark.parametrize(
    "line",
    [
        f'{COMBINED} "10.9.9.9, 203.0.113.7, 192.0.2.1"',
        json.dumps(NGINX_JSON | {"http_x_forwarded_for": "unknown, 10.9.9.9, 203.0.113.7:4711,192.0.2.1"}),
    ],
)
def test_the_client_is_found_from_the_end_of_x_forwarded_for(line: str, hops: int, client: str) -> None:
    assert hit_of(line, trusted_hops=hops).visitor_id == visitor_of(client)


def test_without_x_forwarded_for_the_client_is_the_peer_address() -> None:
    for line in (COMBINED, f'{COMBINED} "-"'):
        assert hit_of(line, trusted_hops=2).visitor_id == visitor_of("198.51.100.10")


def test_a_list_of_clients_in_front_is_x_forwarded_for() -> None:
    line = COMBINED.replace("198.51.100.10", "10.9.9.9, 203.0.113.7, 192.0.2.1")
    assert hit_of(line).visitor_id == hit_of(line, trusted_hops=1).visitor_id == visitor_of("192.0.2.1")
    assert hit_of(line, trusted_hops=2).visitor_id == visitor_of("203.0.113.7")


# ---- ids


LINES = [COMBINED.replace(":00:00 ", f":00:{second:02d} ") for second in (1, 1, 2, 2, 2, 3, 4, 5)]


@given(st.integers(0, 2), st.integers(5, 8))
def test_overlapping_parts_of_a_log_give_each_line_the_same_id(start: int, end: int) -> None:
    start = [0, 2, 5][start]  # a part of the log must not begin between equal lines
    whole, part = (imported("\n".join(lines))[0] for lines in (LINES, LINES[start:end]))
    assert [hit.hit_id for hit in part] == [hit.hit_id for hit in whole[start:end]]
    assert len({hit.hit_id for hit in whole}) == len(LINES)


def test_an_id_is_of_the_line_without_its_end_and_of_no_option() -> None:
    ids = {
        hit_of(COMBINED + "\n").hit_id,
        hit_of(COMBINED + "\r\n").hit_id,
        hit_of(b"\xef\xbb\xbf" + COMBINED.encode()).hit_id,
        hit_of(COMBINED, host="shop.example").hit_id,
    }
    assert len(ids) == 1
    assert len(ids.pop()) == 34


@given(st.lists(st.sampled_from([b"a", b"b"]), max_size=8))
def test_equal_lines_close_together_are_numbered_however_few_are_remembered(lines: list[bytes]) -> None:
    few, many = LineIds(remembered=2), LineIds()
    assert [few.of(line) for line in lines] == [many.of(line) for line in lines]


def test_line_numbers_kept_for_ids_are_bounded() -> None:
    ids = LineIds(remembered=3)
    for number in range(100):
        ids.of(str(number).encode())
    assert len(ids._counts) + len(ids._older) <= 6


@given(st.binary(max_size=200), st.sampled_from(list(LogFormat)))
def test_no_line_stops_an_import(line: bytes, format_: LogFormat) -> None:
    lines = [COMBINED.encode() + b"\n", json.dumps(CADDY).encode() + b"\n", line.replace(b"\n", b"") + b"\n"]
    hits, tally = imported(lines, LogOptions(format=format_))
    assert tally.lines == len(hits) + tally.skipped.total()
