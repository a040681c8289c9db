"""Test the names of merchants and sites."""

from __future__ import annotations

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.model.names import merchant_of, short_site_name, site_name


def test_site_names_have_a_short_form() -> None:
    assert site_name("m/s") == site_name("merchants/m/sites/s") == "merchants/m/sites/s"
    assert merchant_of("merchants/m/sites/s") == "merchants/m"


@pytest.mark.parametrize(
    "wrong", ["m", "m/", "M/s", "merchants/m/sites/", "merchants/m/sites/s/x", "-m/s", "m" * 65 + "/s", ""]
)
def test_anything_else_is_refused_with_the_rule(wrong: str) -> None:
    with pytest.raises(RefusedError, match="1 to 64 characters"):
        site_name(wrong)


def test_short_name_is_the_way_back() -> None:
    assert short_site_name(site_name("demo/shop")) == "demo/shop"
    assert short_site_name("merchants/-") == "merchants/-"
