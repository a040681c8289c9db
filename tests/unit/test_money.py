"""Money: exact amounts in, exact conversions, display at the edge (rules M1, M2, M5; vector M-a)."""

from decimal import Decimal

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import CURRENCIES, MoneyError, convert, exponent, format_micros, is_currency, parse_micros


@pytest.mark.parametrize(("code", "places"), [("JPY", 0), ("EUR", 2), ("KWD", 3), ("IQD", 3), ("CLF", 4), ("XAU", 6)])
def test_exponents_are_those_of_iso_4217(code: str, places: int) -> None:
    assert exponent(code) == places


def test_codes_are_upper_case_iso_codes_and_nothing_else() -> None:
    assert is_currency("EUR")
    assert {"EUR", "USD", "JPY", "XCG"} <= CURRENCIES
    for code in ("eur", "EURO", "", "ABC", "€"):
        assert not is_currency(code)


def test_withdrawn_currencies_of_imported_history_are_known() -> None:
    assert is_currency("HRK")
    assert exponent("BYR") == 0
    assert format_micros(19_990_000, "BGN") == "19.99"


@pytest.mark.parametrize(
    ("micros", "code", "text"),
    [
        (59_442_630_000, "EUR", "59442.63"),
        (-30_000_000, "EUR", "-30.00"),
        (0, "EUR", "0.00"),
        (5_000, "EUR", "0.00"),
        (15_000, "EUR", "0.02"),
        (25_000, "EUR", "0.02"),
        (25_001, "EUR", "0.03"),
        (-5_000, "EUR", "0.00"),
        (-15_000, "EUR", "-0.02"),
        (999_995_000, "EUR", "1000.00"),
        (1_500_000, "JPY", "2"),
        (2_500_000, "JPY", "2"),
        (-2_500_001, "JPY", "-3"),
        (1_234_500, "KWD", "1.234"),
        (1_235_500, "KWD", "1.236"),
        (1_500_000, "XAU", "1.500000"),
        (MAX_ABS_MICROS, "USD", "1000000000000.00"),
    ],
)
def test_display_rounds_half_even_to_the_currencys_places(micros: int, code: str, text: str) -> None:
    assert format_micros(micros, code) == text


def test_an_unknown_currency_is_refused_with_its_cure() -> None:
    with pytest.raises(MoneyError, match="'EURO' is not an ISO 4217 code") as refusal:
        format_micros(1, "EURO")
    assert isinstance(refusal.value, RefusedError)
    assert refusal.value.reason == "UNKNOWN_CURRENCY"


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("59442.63", 59_442_630_000),
        ("-30", -30_000_000),
        ("+0.000001", 1),
        ("19.990000000", 19_990_000),
        ("0", 0),
        ("-0.0", 0),
        ("1000000000000", MAX_ABS_MICROS),
        ("-1000000000000.000000", -MAX_ABS_MICROS),
    ],
)
def test_amounts_are_read_exactly(text: str, micros: int) -> None:
    assert parse_micros(text) == micros


@pytest.mark.parametrize(
    "text", ["", ".5", "5.", "1e3", "1,000", " 1", "1\n", "--1", "٣", "NaN", "1_000", "0.0000001", "1" * 40]
)
def test_what_is_no_plain_decimal_of_six_places_is_refused(text: str) -> None:
    with pytest.raises(MoneyError, match="amount"):
        parse_micros(text)


def test_amounts_beyond_the_limit_are_refused() -> None:
    for text in ("1000000000000.000001", "-1000000000001"):
        with pytest.raises(ValueError, match="beyond 1,000,000,000,000"):
            parse_micros(text)


def test_amounts_read_back_what_is_shown() -> None:
    for micros in (0, 10_000, -10_000, 123_456_780_000, -MAX_ABS_MICROS):
        assert parse_micros(format_micros(micros, "EUR")) == micros


@pytest.mark.parametrize(
    ("micros", "rate", "expected"),
    [
        (19_990_000, "1.0837", 21_663_163),
        (1, "0.5", 0),
        (3, "0.5", 2),
        (-1, "0.5", 0),
        (-3, "0.5", -2),
        (5, "0.5", 2),
        (9 * 10**18, "1.000000000000000000000000000001", 9 * 10**18),
        (2 * 10**18, "0.00000000000000000025", 0),
        (2 * 10**18, "0.000000000000000000250000001", 1),
    ],
)
def test_conversion_rounds_once_half_even(micros: int, rate: str, expected: int) -> None:
    assert convert(micros, Decimal(rate)) == expected


@pytest.mark.parametrize("rate", ["0", "-1", "NaN", "Infinity"])
def test_a_rate_that_is_no_positive_number_is_refused(rate: str) -> None:
    with pytest.raises(MoneyError, match="not a positive number"):
        convert(1, Decimal(rate))
