"""Test shop exports, row by row. A row becomes hits, or is skipped for a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import MICROS
from hitmesh.tools.importers import csv_rows, shop_csv
from hitmesh.tools.importers.lines import Line, Tally, UnreadLine, hit_id, read_lines
from tests.reference.files import read_shop_csv

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_real_files = pytest.mark.skipif(not SHARED.is_dir(), reason="the real input files are not there")
HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"


def a_row(
    time: str = "2019-10-01 00:00:00 UTC",
    event: str = "view",
    product: str = "44600062",
    category: str = "",
    brand: str = "",
    price: str = "35.79",
    user: str = "541312140",
    session: str = "72d76fde",
) -> str:
    return f"{time},{event},{product},1,{category},{brand},{price},{user},{session}\n"


def read_shop(*rows: str, header: str = HEADER) -> tuple[list[hit_pb2.Hit], dict[str, int]]:
    tally = Tally()
    lines = [text.encode("utf-8", "surrogateescape") for text in (header, *rows)]
    hits = list(shop_csv.read(lines, tally, currency="EUR"))
    assert tally.lines == len(rows)
    return hits, {reason.value: count for reason, count in tally.skipped.items()}


def test_a_view_becomes_a_product_view_with_its_item() -> None:
    [hit], skipped = read_shop(a_row(category="appliances.environment.water_heater", brand="aqua", price="33.20"))
    assert skipped == {}
    assert (hit.type, hit.visitor_id) == (hit_pb2.HIT_TYPE_PRODUCT_VIEW, "541312140")
    assert hit.true_time.ToJsonString() == "2019-10-01T00:00:00Z"
    assert hit.product_view.item == hit_pb2.Item(
        sku="44600062",
        category=["appliances", "environment", "water_heater"],
        brand="aqua",
        unit_price_micros=33_200_000,
        quantity=1,
    )


def test_cart_rows_become_cart_updates() -> None:
    hits, _ = read_shop(a_row(event="cart"), a_row(event="remove_from_cart"))
    assert [hit.cart.action for hit in hits] == [hit_pb2.CART_ACTION_ADD, hit_pb2.CART_ACTION_REMOVE]
    assert {(hit.cart.value_micros, hit.cart.currency, len(hit.cart.items)) for hit in hits} == {(35_790_000, "EUR", 1)}


def test_carts_and_purchases_count_without_a_product() -> None:
    cart, order = read_shop(a_row(event="cart", product=""), a_row(event="purchase", product=""))[0]
    assert [item.sku for item in (*cart.cart.items, *order.order.items)] == ["", ""]
    assert order.order.total_micros == 35_790_000


def test_purchases_of_one_session_user_and_second_become_one_order() -> None:
    rows = [
        a_row(event="purchase", product="1", price="0.10"),
        a_row(event="view"),
        a_row(event="purchase", product="2", price="0.20", session="other"),
        a_row(event="purchase", product="3", price="0.20"),
        a_row(event="purchase", product="4", time="2019-10-01 00:00:01 UTC"),
        a_row(event="purchase", product="5", user="9"),
    ]
    hits, _ = read_shop(*rows)
    view, first, *others = hits
    assert view.type == hit_pb2.HIT_TYPE_PRODUCT_VIEW
    assert first.hit_id == hit_id(Line(2, rows[0].rstrip("\n")))
    assert first.order.order_id == "72d76fde:541312140:1569888000"
    assert [item.sku for item in first.order.items] == ["1", "3"]
    assert (first.order.total_micros, first.order.currency) == (300_000, "EUR")
    assert [[item.sku for item in hit.order.items] for hit in others] == [["2"], ["4"], ["5"]]


@pytest.mark.parametrize(
    "row",
    [
        a_row(user=""),
        a_row(product=""),
        a_row(product=" "),
        a_row(event="viewed"),
        a_row(time=""),
        a_row(time="yesterday"),
        a_row(time="2019-13-01 00:00:00 UTC"),
        a_row(time="2019-10-01 24:01:00 UTC"),
        a_row(time="0001-01-01 00:00:00+14:00 UTC"),
        a_row(price=""),
        a_row(price="-1"),
        a_row(price="nan"),
        a_row(price="1e3"),
        a_row(price="1,5"),
        a_row(price="1e+99"),
        a_row(price="9" * 101),
        a_row(price="9999999999999"),
        a_row(brand='"open'),
        a_row(brand="a,b"),
        "2019-10-01 02:50:00 UTC,view,10900305\n",
        "\n",
    ],
)
def test_broken_rows_are_unparsable_and_their_neighbours_are_taken(row: str) -> None:
    hits, skipped = read_shop(a_row(), row, a_row())
    assert (len(hits), skipped) == (2, {"unparsable": 1})


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (a_row(user=""), "user_id is empty"),
        (a_row(product=""), "product_id of a view is empty"),
        (a_row(event="viewed"), "event_type 'viewed' is not view, cart, remove_from_cart or purchase"),
        (a_row(time="yesterday"), "event_time 'yesterday' is not a time such as 2026-11-01 09:30:00 UTC"),
        (a_row(price="-1"), "price '-1' is not a number of 0 or more, such as 19.90"),
        (a_row(price="9999999999999"), "price '9999999999999' is above 1,000,000,000,000"),
        ("cut,off\n", "the row is not CSV with the 9 columns of the header"),
    ],
)
def test_an_unparsable_row_is_kept_with_its_file_line_and_mismatch(row: str, complaint: str) -> None:
    tally = Tally("shop.csv")
    assert list(shop_csv.read([HEADER.encode(), row.encode()], tally, currency="EUR")) == []
    assert tally.unread == [UnreadLine("shop.csv", 2, complaint, row.rstrip("\n"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("35.79", 35_790_000),
        ("0.000001", 1),
        ("1.10000000", 1_100_000),
        ("1000000000", 10**15),
        ("35.790000000000006", 35_790_000),
        ("0.30000000000000004", 300_000),
        ("12.499999999999998", 12_500_000),
        ("1e-05", 10),
        ("1.5E-07", 0),
        ("0.0000005", 0),
        ("0.0000015", 2),
        (" 2.5 ", 2_500_000),
    ],
)
def test_prices_are_read_to_the_micro(text: str, expected: int) -> None:
    assert shop_csv.micros(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("12,50", 12_500_000), ("1.234,5", 1_234_500_000), ("1234.5", 1_234_500_000)]
)
def test_prices_may_have_a_decimal_comma_where_it_is_no_delimiter(text: str, expected: int) -> None:
    header = "event_time;event_type;product_id;price;user_id\n"
    [hit], _ = read_shop(f"2025-03-10;view;1;{text};7\n", header=header)
    assert hit.product_view.item.unit_price_micros == expected


@pytest.mark.parametrize(
    "text",
    [
        "2025-03-10 10:00:00 UTC",
        "2025-03-10T10:00:00Z",
        "2025-03-10 10:00",
        "2025-03-10t10:00:00.000000z",
        "2025-03-10T12:00:00+02:00",
        "2025-03-10 12:00:00 +0200",
        "2025-03-10T05:30:00-04:30",
        "20250310T100000Z",
        "2025-03-10 10:00:00 GMT",
    ],
)
def test_times_are_those_of_iso_8601_and_utc_without_an_offset(text: str) -> None:
    [hit], _ = read_shop(a_row(time=text))
    assert hit.true_time.ToJsonString() == "2025-03-10T10:00:00Z"


def test_fractions_of_a_second_are_kept_and_purchases_of_one_second_stay_one_order() -> None:
    rows = [
        a_row(time=f"2025-03-10T10:00:00.{part}Z", event=event) for event in ("view", "purchase") for part in (25, 5)
    ]
    first, second, order = read_shop(*rows)[0]
    assert [hit.true_time.ToMilliseconds() % 1_000 for hit in (first, second, order)] == [250, 500, 250]
    assert len(order.order.items) == 2


def test_rows_without_a_session_keep_their_view_and_their_order() -> None:
    rows = [a_row(session=""), a_row(session="", event="purchase"), a_row(session="", event="purchase", user="8")]
    hits, skipped = read_shop(*rows)
    assert [hit.order.order_id for hit in hits] == ["", ":541312140:1569888000", ":8:1569888000"]
    assert skipped == {}
    header = "event_time,event_type,product_id,price,user_id\n"
    [order], _ = read_shop("2019-10-01,purchase,1,1,7\n", header=header)
    assert order.order.order_id == ":7:1569888000"


def test_values_in_quotes_may_have_line_breaks_and_delimiters() -> None:
    text = a_row(brand='"Berg &\r\nSons, ""Ltd"""', event="view")
    first, second = text.split("\n", 1)
    tally = Tally()
    lines = [HEADER.encode(), f"{first}\n".encode(), second.encode(), a_row(brand="b").encode()]
    hits = list(shop_csv.read(lines, tally, currency="EUR"))
    assert [hit.product_view.item.brand for hit in hits] == ['Berg &\nSons, "Ltd"', "b"]
    assert (tally.lines, tally.skipped.total()) == (2, 0)
    assert hits[0].hit_id == hit_id(Line(2, text.replace("\r\n", "\n").removesuffix("\n")))
    assert hits[1].hit_id == hit_id(Line(4, a_row(brand="b").removesuffix("\n")))


@pytest.mark.parametrize("open_row", [a_row(brand='"open'), a_row(brand='"'), '"\n'])
def test_a_quote_that_is_never_closed_costs_its_own_row_only(open_row: str) -> None:
    good = [a_row(), a_row(brand='"in ""quotes"""'), a_row(brand='5" pipe'), a_row(brand="b")]
    hits, skipped = read_shop(good[0], open_row, *good[1:], open_row)
    assert (len(hits), skipped) == (4, {"unparsable": 2})


@pytest.mark.parametrize(("most_lines", "brands"), [(3, ["a\nb\nc", "d"]), (2, ["d"])])
def test_an_open_quote_is_followed_only_so_far(most_lines: int, brands: list[str]) -> None:
    text = HEADER + a_row(brand='"a\nb\nc"') + a_row(brand="d")
    lines = read_lines([f"{line}\n".encode() for line in text.splitlines()])
    header = csv_rows.read_header(lines, shop_csv.COLUMNS, shop_csv.NEEDED_COLUMNS, {})
    rows = [row.columns for row in csv_rows.read_rows(lines, header, most_lines=most_lines)]
    assert [columns["brand"] for columns in rows if columns] == brands


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first_line", ["", "sep={}\n"])
def test_any_usual_delimiter_is_found(delimiter: str, first_line: str) -> None:
    text = HEADER + a_row(brand="aqua") + a_row(event="cart")
    lines = (first_line.format(delimiter) + text.replace(",", delimiter)).encode().splitlines(keepends=True)
    tally = Tally()
    view, cart = shop_csv.read(lines, tally, currency="EUR")
    assert (view.product_view.item.brand, len(cart.cart.items), tally.lines) == ("aqua", 1, 2)


def test_columns_may_have_other_names() -> None:
    names = csv_rows.parse_map(["event_time=Date", "amount=price", "user_id = Customer No"], shop_csv.COLUMNS)
    assert names == {"event_time": "Date", "price": "amount", "user_id": "Customer No"}
    lines = ["Date;event_type;product_id;price;amount;Customer No\n", "2025-03-10;view;1;net;2;7\n"]
    [hit] = shop_csv.read([line.encode() for line in lines], Tally(), currency="EUR", names=names)
    assert (hit.visitor_id, hit.product_view.item.unit_price_micros) == ("7", 2_000_000)
    with pytest.raises(RefusedError, match="lacks Date") as caught:
        list(shop_csv.read([HEADER.encode()], Tally(), currency="EUR", names={"event_time": "Date"}))
    assert caught.value.reason == "INVALID_FILE"
    with pytest.raises(RefusedError, match="lacks Marke"):
        list(shop_csv.read([HEADER.encode()], Tally(), currency="EUR", names={"brand": "Marke"}))


@pytest.mark.parametrize("text", ["", "price", "=", "price=", "=price", "cost=amount"])
def test_a_map_that_names_no_column_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="write COLUMN=NAME"):
        csv_rows.parse_map([text], shop_csv.COLUMNS)


def test_an_order_of_many_rows_keeps_its_total_and_as_many_items_as_fit() -> None:
    hits, skipped = read_shop(*(a_row(event="purchase", price="1", product=str(number)) for number in range(1_500)))
    [order] = hits
    assert (order.order.total_micros, len(order.order.items), skipped) == (1_500_000_000, 1_001, {})
    [large], _ = read_shop(*(a_row(event="purchase", price="1", brand="b" * 2_000) for _ in range(200)))
    assert large.order.total_micros == 200_000_000
    assert large.ByteSize() < 256 << 10
    most = str(MAX_ABS_MICROS // MICROS)
    hits, skipped = read_shop(*(a_row(event="purchase", price=most) for _ in range(2)))
    assert (hits[0].order.total_micros, skipped) == (MAX_ABS_MICROS, {"unparsable": 1})


def test_quoted_values_and_control_characters_are_taken_as_they_are() -> None:
    [hit], _ = read_shop(a_row(brand='"a ""b"", c\x00\x1b"'))
    assert hit.product_view.item.brand == 'a "b", c\x00\x1b'


def test_windows_line_ends_and_a_reordered_header_are_read() -> None:
    header = "user_session,user_id,price,product_id,event_type,event_time\r\n"
    [hit], _ = read_shop("s,7,1.5,sku,view,2019-10-01 00:00:00 UTC\r\n", header=header)
    assert (hit.visitor_id, hit.product_view.item.unit_price_micros) == ("7", 1_500_000)


@pytest.mark.parametrize("header", ["", "a,b,c\n", '"open\n', '83.149.9.216 - - "GET /\n'])
def test_another_file_is_refused_before_anything_is_read(header: str) -> None:
    with pytest.raises(RefusedError, match="not the header of a shop export") as caught:
        list(shop_csv.read([header.encode()], Tally(), currency="USD"))
    assert caught.value.reason == "INVALID_FILE"


@needs_real_files
def test_real_shop_export_gives_the_known_hits() -> None:
    tally = Tally()
    with (SHARED / "shop-2019-10.csv").open("rb") as lines:
        hits = list(shop_csv.read(lines, tally, currency="USD"))
    assert (tally.lines, len(hits), dict(tally.skipped)) == (17_435, 17_434, {"unparsable": 1})
    orders = [hit.order for hit in hits if hit.type == hit_pb2.HIT_TYPE_ORDER]
    assert (len(orders), sum(order.total_micros for order in orders)) == (214, 59_442_630_000)
    expected, _ = read_shop_csv(SHARED / "shop-2019-10.csv", "merchants/demo/sites/shop")
    assert [(hit.hit_id, hit.visitor_id, hit.true_time.ToMilliseconds(), hit.order.order_id) for hit in hits] == [
        (hit.hit_id, hit.visitor, hit.event_time, hit.order_id or "") for hit in expected
    ]
