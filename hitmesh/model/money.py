"""Money: whole micros of an ISO 4217 currency (rules M1, M2, M5; steps 2 and 8 of the journey).

Decides which codes and amounts exist, and how an amount is parsed exactly, converted and shown. Everywhere else amounts
are int64 micros, a millionth of the currency's unit; binary floats never hold money.

Knows nothing of orders, sites or rate tables: a rate is an argument.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal
from types import MappingProxyType
from typing import Final

from iso4217 import Currency

from hitmesh.model.errors import RefusedError
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.model.reasons import ErrorReason, LocalReason

MICROS: Final = 1_000_000
MICRO_DIGITS: Final = 6

# Codes withdrawn since 2014 and absent from the current ISO list: imported history still has them.
_WITHDRAWN: Final = {
    "ANG": 2, "BGN": 2, "BYR": 0, "CUC": 2, "HRK": 2, "LTL": 2,
    "LVL": 2, "MRO": 2, "SLL": 2, "STD": 2, "VEF": 2, "ZWL": 2,
}  # fmt: skip

# Decimal places by code. Codes without a minor unit (metals, XXX) show all six digits.
EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    _WITHDRAWN
    | {currency.code: MICRO_DIGITS if currency.exponent is None else currency.exponent for currency in Currency}
)
CURRENCIES: Final[frozenset[str]] = frozenset(EXPONENTS)

_AMOUNT: Final = re.compile(r"([+-]?)([0-9]{1,32})(?:\.([0-9]{1,32}))?")
# Exact for any product of an int64 sum and a rate with up to 40 digits.
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)


class MoneyError(RefusedError, ValueError):
    """An invalid amount, rate or currency code; the message names value, rule and cure."""


def is_currency(code: str) -> bool:
    """Return whether the code is an ISO 4217 code in upper case.

    Example:
        >>> is_currency("EUR"), is_currency("eur"), is_currency("EURO")
        (True, False, False)
    """
    return code in CURRENCIES


def exponent(code: str) -> int:
    """Return the number of decimal places in which the currency is shown: JPY 0, EUR 2, KWD 3.

    Raises:
        MoneyError: the currency does not exist.

    Example:
        >>> [exponent(code) for code in ("JPY", "EUR", "KWD")]
        [0, 2, 3]
    """
    places = EXPONENTS.get(code)
    if places is None:
        raise MoneyError(
            f"currency {code[:16]!r} is not an ISO 4217 code: use three capitals such as EUR",
            reason=ErrorReason.UNKNOWN_CURRENCY,
            value=code,
        )
    return places


def format_micros(micros: int, code: str) -> str:
    """Return the amount for display, rounded half-even to the currency's places: `-30.00` (rule M5).

    The rounded text is never used in a computation. Raises MoneyError for an unknown currency.

    Example:
        >>> format_micros(-30_000_000, "EUR"), format_micros(2_500_000, "JPY"), format_micros(1_234_500, "KWD")
        ('-30.00', '2', '1.234')
    """
    places = exponent(code)
    rounded = _divide_half_even(abs(micros), 10 ** (MICRO_DIGITS - places))
    units, fraction = divmod(rounded, 10**places)
    sign = "-" if micros < 0 and rounded else ""
    return f"{sign}{units}.{fraction:0{places}d}" if places else f"{sign}{units}"


def parse_micros(text: str) -> int:
    """Return the micros of a plain decimal such as `59442.63` or `-30`, exactly.

    Raises:
        MoneyError: not a plain decimal (no exponent, separator or space), more than six decimals unless the rest are
            zeros, or beyond `MAX_ABS_MICROS`.

    Example:
        >>> parse_micros("59442.63"), parse_micros("-30")
        (59442630000, -30000000)
    """
    found = _AMOUNT.fullmatch(text)
    if not found:
        raise MoneyError(
            f"amount {text[:40]!r} is not a decimal: write it as 59442.63",
            reason=LocalReason.INVALID_AMOUNT,
            value=text,
        )
    sign, units, fraction = found[1], found[2], (found[3] or "").ljust(MICRO_DIGITS, "0")
    if fraction[MICRO_DIGITS:].strip("0"):
        raise MoneyError(
            f"amount {text[:40]!r} has more than {MICRO_DIGITS} decimals: round it first",
            reason=LocalReason.INVALID_AMOUNT,
            value=text,
            limit=MICRO_DIGITS,
        )
    micros = int(units) * MICROS + int(fraction[:MICRO_DIGITS])
    if micros > MAX_ABS_MICROS:
        raise MoneyError(
            f"amount {text[:40]!r} is beyond {MAX_ABS_MICROS // MICROS:,}: check its unit",
            reason=LocalReason.INVALID_AMOUNT,
            value=text,
            limit=MAX_ABS_MICROS // MICROS,
        )
    return -micros if sign == "-" else micros


def convert(micros: int, rate: Decimal) -> int:
    """Return micros in the target currency at `rate` target units per source unit, rounded once, half-even (M2).

    Raises:
        MoneyError: the rate is not a positive number.

    Example:
        >>> convert(19_990_000, Decimal("1.0837"))  # vector M-a
        21663163
        >>> [convert(micros, Decimal("0.5")) for micros in (1, 3)]  # half-even (rule M2)
        [0, 2]
    """
    if not rate.is_finite() or rate <= 0:
        raise MoneyError(f"rate {rate} is not a positive number", reason=LocalReason.INVALID_RATE, value=str(rate))
    return int(_EXACT.multiply(Decimal(micros), rate).to_integral_value(ROUND_HALF_EVEN))


def _divide_half_even(amount: int, divisor: int) -> int:
    """Return a non-negative amount over the divisor, ties to the even neighbour."""
    quotient, remainder = divmod(amount, divisor)
    twice = 2 * remainder
    return quotient + (twice > divisor or (twice == divisor and quotient % 2 == 1))
