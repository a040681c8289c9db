"""Test the normal form of paths and hosts, with literal examples and properties."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.urls import PATH_TO_NORMALISE, ascii_host, normal_host, normal_path

PIECES = st.sampled_from(
    [
        *("/", ".", "..", "%", "%2", "%2F", "%2f", "%41", "%7e", "%C3%A9", "%c3", "%FF", "%20", " ", "%00"),
        *("%E2%80%8B", "a", "B", "é", "日", "🛒", "\u202e", "\n", "\\", '"', "[", "+", "=", "\u0301", "x" * 50),
    ]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/caf%c3%a9", "/café"),
        ("/café", "/café"),
        ("/%7Euser/%41%2D", "/~user/A-"),
        ("/a%2fb", "/a%2Fb"),  # %2F is reserved, so this address differs from /a/b
        ("/a%3Fb%23c%25d", "/a%3Fb%23c%25d"),
        ("/Annual%20report 2016", "/Annual report 2016"),
        ("/a%20", "/a%20"),
        ("/a%20%20b/ c", "/a%20%20b/%20c"),
        ("/100%", "/100%25"),
        ("/a/./b/../c", "/a/c"),
        ("/%2e%2E/a/..", "/"),
        ("/a//b/..b/c..", "/a//b/..b/c.."),
        ("/%ff%C3%A9", "/%FFé"),
        ("/\u200bx\u202e", "/%E2%80%8Bx%E2%80%AE"),
        ("/{id}|^`<>", "/%7Bid%7D%7C%5E%60%3C%3E"),
        ("/a(b)*c;d=e,f+g:h@i!j$k&l'm", "/a(b)*c;d=e,f+g:h@i!j$k&l'm"),
    ],
)
def test_a_path_has_one_readable_text(path: str, expected: str) -> None:
    assert normal_path(path) == expected


@pytest.mark.parametrize(
    ("host", "in_ascii", "shown"),
    [
        ("Shop.Example.", "shop.example", "shop.example"),
        ("BÜCHER.example", "xn--bcher-kva.example", "bücher.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example", "bücher.example"),
        ("b%C3%BCcher.example", "xn--bcher-kva.example", "bücher.example"),
        ("faß.example", "xn--fa-hia.example", "faß.example"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai", "пример.рф"),
        ("日本語ab.example", "xn--ab-5t7du0ck91h.example", "日本語ab.example"),
        ("i❤.example", "xn--i-7iq.example", "i❤.example"),
        ("\u0430pple.example", "xn--pple-43d.example", "xn--pple-43d.example"),  # Cyrillic among Latin
        (
            "xn--80ak6aa92e.example",
            "xn--80ak6aa92e.example",
            "xn--80ak6aa92e.example",
        ),  # this host has Cyrillic letters that look like Latin letters
        ("my_host.example", "my_host.example", "my_host.example"),
        ("[2001:DB8::1]", "[2001:db8::1]", "[2001:db8::1]"),
        ("xn--zzzzzz", "xn--zzzzzz", "xn--zzzzzz"),
        ("", "", ""),
    ],
)
def test_a_host_has_one_text_in_ascii_and_one_to_be_shown(host: str, in_ascii: str, shown: str) -> None:
    assert (ascii_host(host), normal_host(host)) == (in_ascii, shown)


@given(PATHS)
def test_the_normal_form_of_a_normal_path_is_itself(path: str) -> None:
    normal = normal_path(path)
    assert normal_path(normal) == normal
    assert normal.startswith("/")
    assert all(char == " " or char.isprintable() for char in normal)


@given(PATHS)
def test_encoding_a_normal_path_wholly_changes_nothing(path: str) -> None:
    normal = normal_path(path)
    assert normal_path(quote(normal, safe="!$&'()*+,/:;=@[]%")) == normal


@given(PATHS)
def test_a_normal_path_means_the_same_bytes(path: str) -> None:
    if "/." not in normal_path(path) and not re.search(r"/\.|%2[eE]|/%", path):
        assert unquote_to_bytes(normal_path(path)) == unquote_to_bytes(path)


@given(PATHS)
def test_a_path_that_the_quick_check_passes_over_is_normal(path: str) -> None:
    if not re.search(PATH_TO_NORMALISE, path):
        assert normal_path(path) == path


@given(
    st.lists(
        st.sampled_from(["ü", "xn--", "日", "a", ".", "-", "\u0430", "❤", "%C3", "\u200d", "ß", "\u0661", "א"]),
        max_size=9,
    ).map("".join)
)
def test_no_host_raises_and_its_normal_form_is_stable(host: str) -> None:
    assert normal_host(normal_host(host)) == normal_host(host)
