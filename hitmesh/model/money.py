"""The ISO 4217 currency codes, and the formatting of amounts (rules M1, M5; journey steps 2 and 8).

An amount is an integer number of micros; a micro is a millionth of the currency's unit (1,000,000 micros = 1 EUR).
Stored amounts are int64, and sums are exact beyond int64 (hitmesh.model.amounts). Floats never hold money.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from iso4217 import Currency

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

MICROS: Final = 1_000_000
MICRO_DIGITS: Final = 6
# The bounds for an amount or a sum in a single field.
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

# Codes withdrawn since 2014, with their decimal places. Imported hits may contain withdrawn codes, which the current
# ISO list no longer contains.
_WITHDRAWN: Final = {
    "ANG": 2, "BGN": 2, "BYR": 0, "CUC": 2, "HRK": 2, "LTL": 2,
    "LVL": 2, "MRO": 2, "SLL": 2, "STD": 2, "VEF": 2, "ZWL": 2,
}  # fmt: skip

# Maps each currency code to its number of decimal places. Amounts in a code without a minor unit (metals, XXX) are
# shown with all six digits.
EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    _WITHDRAWN
    | {currency.code: MICRO_DIGITS if currency.exponent is None else currency.exponent for currency in Currency}
)
CURRENCIES: Final[frozenset[str]] = frozenset(EXPONENTS)


class MoneyError(RefusedError, ValueError):
    """The currency code does not exist; the message names value, rule and remedy."""


def exponent(code: str) -> int:
    """Return the number of decimal places with which amounts are shown: 0 for JPY, 2 for EUR, 3 for KWD.

    Raises:
        MoneyError: the currency does not exist.

    Example:
        >>> [exponent(code) for code in ("JPY", "EUR", "KWD")]
        [0, 2, 3]
    """
    places = EXPONENTS.get(code)
    if places is None:
        raise MoneyError(
            f"currency {code[:16]!r} is not an ISO 4217 code: use three capital letters such as EUR",
            reason=ErrorReason.UNKNOWN_CURRENCY,
            value=code,
        )
    return places


def format_micros(micros: int, code: str) -> str:
    """Return the amount for display, such as `-30.00`: rounded half-even to the currency's decimal places (rule M5).

    No computation may use the rounded text.

    Raises:
        MoneyError: the currency does not exist.

    Example:
        >>> format_micros(-30_000_000, "EUR"), format_micros(2_500_000, "JPY"), format_micros(1_234_500, "KWD")
        ('-30.00', '2', '1.234')
    """
    places = exponent(code)
    rounded = _divide_half_even(abs(micros), 10 ** (MICRO_DIGITS - places))
    units, fraction = divmod(rounded, 10**places)
    sign = "-" if micros < 0 and rounded else ""
    return f"{sign}{units}.{fraction:0{places}d}" if places else f"{sign}{units}"


def _divide_half_even(amount: int, divisor: int) -> int:
    """Return a non-negative amount divided by the divisor, rounded half-even."""
    quotient, remainder = divmod(amount, divisor)
    twice = 2 * remainder
    return quotient + (twice > divisor or (twice == divisor and quotient % 2 == 1))
