"""Properties of origins: a list allows exactly its origins and subdomains, and no text that hides another host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.origins import MAX_ORIGIN_CHARS, is_allowed, standard_origin

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
SCHEMES = st.sampled_from(["https", "http"])
PORTS = st.none() | st.integers(1, 65_535)


@st.composite
def origins(draw: st.DrawFn) -> str:
    """An origin in its standard form."""
    scheme, host, port = draw(SCHEMES), draw(HOSTS), draw(PORTS)
    is_default = port in (None, 443 if scheme == "https" else 80)
    return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{port}"


@given(origins())
def test_a_standard_origin_stays_and_is_allowed_by_itself(origin: str) -> None:
    assert standard_origin(origin) == standard_origin(origin.upper()) == origin
    assert is_allowed(origin, (origin,))
    assert is_allowed(origin, ("https://other.example", origin))


@given(origins(), st.lists(origins(), min_size=1))
def test_only_listed_origins_are_allowed(origin: str, allowed: list[str]) -> None:
    assert is_allowed(origin, allowed) == (origin in allowed)


@given(st.text(max_size=MAX_ORIGIN_CHARS + 10))
def test_every_text_is_allowed_by_an_empty_list_and_only_standard_texts_by_another_list(text: str) -> None:
    assert is_allowed(text, ())
    standard = standard_origin(text)
    is_shop = standard == "https://shop.example"
    is_below = standard is not None and standard.startswith("https://") and standard.endswith(".shop.example")
    assert is_allowed(text, ("https://shop.example", "https://*.shop.example")) == (is_shop or is_below)


@given(SCHEMES, st.lists(LABELS, min_size=1, max_size=3).map(".".join), HOSTS, PORTS)
def test_a_wildcard_stands_for_all_subdomains_of_its_scheme_and_port_only(
    scheme: str, below: str, host: str, port: int | None
) -> None:
    end = "" if port in (None, 443, 80) else f":{port}"
    allowed = (f"{scheme}://*.{host}{end}",)
    assert is_allowed(f"{scheme}://{below}.{host}{end}", allowed)
    assert not is_allowed(f"{scheme}://{host}{end}", allowed)
    assert not is_allowed(f"{scheme}://{below}{host}{end}", allowed) or f"{below}{host}".endswith(f".{host}")
    assert not is_allowed(f"{scheme}://{below}.{host}:8081{end[5:]}", allowed) or end == ":8081"
    other = "http" if scheme == "https" else "https"
    assert not is_allowed(f"{other}://{below}.{host}{end}", allowed)
    assert not is_allowed(allowed[0], allowed), "the pattern itself is no origin"


@given(origins(), st.sampled_from(" \t\r\n\0/?#@\\,;%*|<>\"'`{}^\x7f\x80\u3002\uff0e\u00df"), st.data())
def test_a_character_that_no_origin_has_makes_the_text_no_origin(origin: str, bad: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(origin)))
    text = origin[:place] + bad + origin[place:]
    assert standard_origin(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "https://",
        "https://shop.example/",
        "https://shop.example.",
        "https://shop.example:",
        "https://shop.example:0",
        "https://shop.example:0443",
        "https://shop.example:65536",
        "https://shop.example:443:443",
        "https://user@shop.example",
        "https://shop.example@rival.example",
        "https://shop.example#@rival.example",
        "https://shop.example\\@rival.example",
        "https://shop.example https://rival.example",
        "https://shop.example,https://rival.example",
        "https://.shop.example",
        "https://a..shop.example",
        "https://-a.shop.example",
        "https://*.shop.example",
        "https://sh\u00f6p.example",
        "https://shop\u3002example",
        "https://\u0455hop.example",
        "ftp://shop.example",
        "file://",
        "chrome-extension://abcdefgh",
        "//shop.example",
        "shop.example",
        "javascript:alert(1)",
        f"https://{'a' * 64}.example",
        f"https://{'a.' * 140}example",
    ],
)
def test_hostile_texts_are_no_origins(text: str) -> None:
    assert standard_origin(text) is None
    assert not is_allowed(text, ("https://shop.example", "https://*.shop.example", text))


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("HTTPS://SHOP.Example", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("https://shop.example:80", "https://shop.example:80"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://xn--shp-sna.example", "https://xn--shp-sna.example"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_origins_are_compared_in_their_standard_form(text: str, standard: str) -> None:
    assert standard_origin(text) == standard
    assert is_allowed(text, (standard,))
