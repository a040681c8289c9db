"""Test money: currency codes, and the display of amounts (rules M1, M5)."""

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.money import CURRENCIES, MoneyError, exponent, format_micros


@pytest.mark.parametrize(("code", "places"), [("JPY", 0), ("EUR", 2), ("KWD", 3), ("IQD", 3), ("CLF", 4), ("XAU", 6)])
def test_exponents_are_those_of_iso_4217(code: str, places: int) -> None:
    assert exponent(code) == places


def test_codes_are_upper_case_iso_codes_and_nothing_else() -> None:
    assert {"EUR", "USD", "JPY", "XCG"} <= CURRENCIES
    for code in ("eur", "EURO", "", "ABC", "€"):
        assert code not in CURRENCIES


def test_withdrawn_currencies_of_imported_history_are_known() -> None:
    assert "HRK" in CURRENCIES
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


def test_an_unknown_currency_is_refused_with_its_reason() -> None:
    with pytest.raises(MoneyError, match="'EURO' is not an ISO 4217 code") as refusal:
        format_micros(1, "EURO")
    assert isinstance(refusal.value, RefusedError)
    assert refusal.value.reason == "UNKNOWN_CURRENCY"
