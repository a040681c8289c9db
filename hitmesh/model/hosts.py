"""Hosts in ASCII, as browsers write them (UTS 46, non-transitional), and IPv4 addresses in their only form. Pure."""

from __future__ import annotations

import re
from typing import Final

import idna

_MARKED: Final = "xn--"
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_ADDRESS_BITS: Final = 32


def host_in_ascii(host: str) -> str:
    """Return a lower-case host in ASCII; a text that is not a host stays as it is.

    As in browsers, a host that IDNA 2008 forbids has an ASCII form too.

    Example:
        >>> host_in_ascii("bücher.example"), host_in_ascii("☃.example")
        ('xn--bcher-kva.example', 'xn--n3h.example')
    """
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return _lenient(host)


def _lenient(host: str) -> str:
    """Return the form that browsers use for a host that IDNA 2008 forbids, such as `i❤.example`."""
    try:
        labels = idna.uts46_remap(host, std3_rules=False).split(".")
        return ".".join(label if label.isascii() else _MARKED + label.encode("punycode").decode() for label in labels)
    except (idna.IDNAError, UnicodeError):
        return host


def address_in_decimal(host: str) -> str:
    """Return an IPv4 address as four decimal numbers; any other text stays as it is.

    As in the URL Standard of WHATWG, an address has one to four numbers, each decimal, octal (0…) or hexadecimal (0x…).
    The last number fills all remaining bytes.

    Example:
        >>> address_in_decimal("0x7f.1"), address_in_decimal("192.0.2.1"), address_in_decimal("shop.example")
        ('127.0.0.1', '192.0.2.1', 'shop.example')
        >>> address_in_decimal("256.0.0.1"), address_in_decimal("1.2.3.4.5")
        ('256.0.0.1', '1.2.3.4.5')
    """
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return host
    try:
        *front, last = [_number(part) for part in parts]
    except ValueError:
        return host
    if any(number > 255 for number in front) or last >= 1 << (_ADDRESS_BITS - 8 * len(front)):
        return host
    address = last + sum(number << (24 - 8 * at) for at, number in enumerate(front))
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))


def _number(part: str) -> int:
    """Return a number of an IPv4 address.

    Raises:
        ValueError: the part has a digit that its base does not have.
    """
    if part[:2] in {"0x", "0X"}:
        return int(part[2:] or "0", 16)
    return int(part, 8 if part[0] == "0" else 10)
