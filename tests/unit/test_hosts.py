"""Test the ASCII form of hosts, and the decimal form of IPv4 addresses, against the URL Standard of WHATWG."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.rpc.admin.site_values import checked_hosts
from hitmesh.model.errors import RefusedError
from hitmesh.model.hosts import address_in_decimal, host_in_ascii


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.0.0.0x1", "127.0.0.1"),
        ("0x", "0.0.0.0"),
        ("1", "0.0.0.1"),
        ("1.2.3", "1.2.0.3"),
        ("010.0.0.1", "8.0.0.1"),
        ("4294967295", "255.255.255.255"),
        ("0.16777215", "0.255.255.255"),
    ],
)
def test_an_address_has_one_form(host: str, address: str) -> None:
    assert address_in_decimal(host) == address


@pytest.mark.parametrize(
    "host",
    ["", "a", "4294967296", "256.1", "1.16777216", "08.0.0.1", "1.2.3.4.5", "1..2", "0xg", "1.2.3.example", "\u0661"],
)
def test_a_text_that_is_no_address_stays(host: str) -> None:
    assert address_in_decimal(host) == host


@given(st.ip_addresses(v=4))
def test_all_forms_of_an_address_are_the_same_address(address: IPv4Address) -> None:
    number = int(address)
    for form in (str(address), str(number), hex(number), f"0{number:o}"):
        assert address_in_decimal(form) == str(address)


@given(st.text(max_size=30))
def test_no_text_makes_hosts_fail(text: str) -> None:
    address_in_decimal(host_in_ascii(text.lower()))


def test_own_hosts_have_the_ascii_form_of_browsers() -> None:
    assert checked_hosts(["☃.example", "I❤.example", "Bücher.example"], "site.own_hosts") == (
        "xn--n3h.example",
        "xn--i-7iq.example",
        "xn--bcher-kva.example",
    )
    with pytest.raises(RefusedError):
        checked_hosts(["ü" * 64 + ".example"], "site.own_hosts")
