"""Read access logs and shop exports with a literal implementation of the import rules, to check the importer.

The hits are not classified: their channel and device are unknown. The readers also do not know which hits come from
bots, so reports on these hits must include excluded hits. Each reader returns the hits, and the number of skipped lines
by reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from urllib.parse import unquote_plus

from tests.reference.hits import Campaign, RefHit, RefItem, hash64

STATIC_ENDINGS = frozenset(
    re.findall(
        r"\w+",
        "css js mjs map png jpg jpeg gif ico svg webp avif bmp tif tiff xbm woff woff2 ttf eot otf mp3 mp4 "
        "mpg mpeg avi mov webm ogg wav zip gz tgz bz2 tar rar 7z jar rpm deb iso exe dmg pdf txt xml json "
        "rss atom",
    )
)
_COMMON = re.compile(
    r"(?P<host>\S+) \S+ .*?\[(?P<time>[^\]]+)\] "
    r"\"(?P<request>.*?)\" (?P<status>\d{3}) (?:\d+|-)(?P<rest> .*)?"
)
_COMBINED = re.compile(r" \"(?P<referrer>(?:[^\"\\]|\\.)*)\" \"(?P<agent>(?:[^\"\\]|\\.)*)")
MICROS = 1_000_000


def read_access_log(path: Path, site: str) -> tuple[list[RefHit], Counter[str]]:
    """Return page views from an access log in common or combined format, and the number of skipped lines by reason.

    A line whose user agent is truncated (without a closing quote) is valid. Line 8899 of the real log has a truncated
    user agent.
    """
    hits: list[RefHit] = []
    skipped: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    for number, line in enumerate(_lines(path), start=1):
        hit = _page_view(line, number, site)
        if isinstance(hit, str):
            skipped[hit] += 1
        else:
            equal[line] += 1
            digest = blake2b(line.encode(), digest_size=16).hexdigest()
            hits.append(replace(hit, hit_id=f"{digest}-{equal[line]}"))
    return hits, skipped


def _lines(path: Path) -> list[str]:
    text = path.read_bytes().decode(errors="replace")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _page_view(line: str, number: int, site: str) -> RefHit | str:
    """Return the hit, or the first reason to skip the line. The checks are in the order of the import rules."""
    match = _COMMON.fullmatch(line)
    if match is None or '"' in match["request"] or len(match["request"].split(" ")) < 2:
        return "unparsable"
    try:
        time = datetime.strptime(match["time"], "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        return "unparsable"
    method, target = match["request"].split(" ")[:2]
    if method != "GET":
        return "method"
    if not (200 <= int(match["status"]) <= 299 or int(match["status"]) == 304):
        return "status"
    path, _, query = target.partition("?")
    _, dot, ending = path.rsplit("/", 1)[-1].rpartition(".")
    if dot and ending.lower() in STATIC_ENDINGS:
        return "static"
    combined = _COMBINED.match(match["rest"] or "")
    agent = _unless_missing(combined["agent"]) if combined else ""
    return RefHit(
        site=site,
        visitor=f"{match['host']}\n{agent}",
        hit_id="",
        event_time=_milliseconds(time),
        position=(number, "file", 0, number, 0),
        campaign=_campaign(query),
        page_path=shown_path(path),
        user_agent=agent,
        url=target,
        referrer=(_unless_missing(combined["referrer"]) or None) if combined else None,
    )


def shown_path(path: str) -> str:
    """Return the path as reports show it. The function handles only the ASCII paths that occur in the test files."""
    path = re.sub("%[0-9A-Fa-f]{2}", lambda found: _decoded(found[0].upper()), path)
    path = re.sub(r"(?<=[^/ ])%20(?=[^/% ])", " ", path)
    if re.search(r"/\.\.?(/|$)|%[89A-F]|[^!-~ ]", path):
        raise NotImplementedError(f"{path} has another normal form, which is not modelled")
    return path


def _decoded(triplet: str) -> str:
    char = chr(int(triplet[1:], 16))
    return char if re.fullmatch(r"[A-Za-z0-9._~-]", char) else triplet


def _campaign(query: str) -> Campaign:
    values = dict(pair.partition("=")[::2] for pair in query.split("&"))
    wanted = ("utm_source", "utm_medium", "utm_campaign", "gclid")
    source, medium, campaign, click_id = (_printable(unquote_plus(values.get(name, ""))) for name in wanted)
    return (source, medium, campaign, click_id)


def _printable(text: str) -> str:
    runs = groupby(text, lambda char: unicodedata.category(char) in ("Cc", "Zl", "Zp"))
    return "".join(" " if is_control else "".join(chars) for is_control, chars in runs).strip()


def read_shop_csv(path: Path, site: str, currency: str = "USD") -> tuple[list[RefHit], Counter[str]]:
    """Return the hits of a shop export, and the number of skipped rows by reason.

    Purchases of a visitor at the same moment are one order.
    """
    hits: list[RefHit] = []
    skipped: Counter[str] = Counter()
    orders: dict[str, list[tuple[int, str, dict[str, str]]]] = {}
    header, *lines = _lines(path)
    names = header.split(",")
    for number, line in enumerate(lines, start=2):
        row = dict(zip(names, line.split(","), strict=False))
        if len(row) != len(names):
            skipped["unparsable"] += 1
        elif row["event_type"] == "purchase":
            order_id = f"{row['user_session']}:{row['user_id']}:{_epoch_ms(row) // 1000}"
            orders.setdefault(order_id, []).append((number, line, row))
        else:
            hits.append(_shop_hit(number, line, row, site))
    hits += [_order(order_id, rows, site, currency) for order_id, rows in orders.items()]
    return hits, skipped


def _shop_hit(number: int, line: str, row: dict[str, str], site: str) -> RefHit:
    actions = {"view": None, "cart": "ADD", "remove_from_cart": "REMOVE"}
    action = actions[row["event_type"]]
    return RefHit(
        site=site,
        visitor=row["user_id"],
        hit_id=_hit_id(number, line),
        event_time=_epoch_ms(row),
        type="PRODUCT_VIEW" if action is None else "CART_UPDATE",
        position=(number, "file", 0, number, 0),
        cart_action=action,
        product=row["product_id"],
        category=_category(row),
        brand=row["brand"] or None,
    )


def _order(order_id: str, rows: list[tuple[int, str, dict[str, str]]], site: str, currency: str) -> RefHit:
    number, line, first = rows[0]
    items = tuple(
        RefItem(row["product_id"], _category(row), row["brand"] or None, int(Decimal(row["price"]) * MICROS))
        for _, _, row in rows
    )
    return RefHit(
        site=site,
        visitor=first["user_id"],
        hit_id=_hit_id(number, line),
        event_time=_epoch_ms(first),
        type="ORDER",
        position=(number, "file", 0, number, 0),
        order_id=order_id,
        currency=currency,
        total_micros=sum(item.unit_price_micros for item in items),
        items=items,
    )


def _hit_id(number: int, line: str) -> str:
    return f"{number:012d}-{hash64(line):016x}"


def _category(row: dict[str, str]) -> str | None:
    return "/".join(row["category_code"].split(".")) or None


def _epoch_ms(row: dict[str, str]) -> int:
    return _milliseconds(datetime.strptime(row["event_time"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC))


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp()) * 1000


def _unless_missing(text: str) -> str:
    return "" if text == "-" else text
