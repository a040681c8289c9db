"""Test every stored hash with golden values. If a hash changes, stored numbers become meaningless."""

from __future__ import annotations

import numpy as np
import polars as pl

from hitmesh.model.keys import hash64, partition_of, visitor_key
from hitmesh.model.rows.hash_columns import campaign_hashes, hash64_column

SECRET = bytes(range(32))
STRINGS = ["", "a", "merchants/m/sites/s", "é", "🛒 cart", "x" * 127, "x" * 128, "é" * 100, "\0", "line\nbreak"]
HASHES = [
    0x48B2C92616FC193D,
    0xEECA542EBDC74773,
    0xB743D3A1B9ECA18C,
    0x2C9E3B2AFF93A44F,
    0x0EABB61600E47F99,
    0x338E44F1B35B15BF,
    0xA4F827F5F3610665,
    0xDF8E7A0E7E7F913F,
    0xD1DD927ED529F768,
    0x2CC54EA6816EC444,
]


def test_hash64_is_xxh3_of_length_and_bytes() -> None:
    assert [hash64(each) for each in STRINGS] == HASHES


def test_a_column_hashes_like_single_strings_and_keeps_nulls() -> None:
    assert hash64_column(pl.Series([*STRINGS, None], dtype=pl.String())).to_list() == [*HASHES, None]


def test_parts_are_distinguished_by_their_lengths() -> None:
    assert hash64("ab", "c") != hash64("a", "bc")
    assert hash64("key", "batch", "7") == 0xD3E2380D14AE7DB8


def test_visitor_key_is_keyed_blake2b_by_kind() -> None:
    assert visitor_key(SECRET, "visitor", "v1") == (0x9536FB4E020F5B39, 0x6BBC0E7347233C48)
    assert visitor_key(SECRET, "user", "v1") == (0x10ABEE7938C1A77B, 0x1F6E969D7EA08625)
    assert visitor_key(SECRET, "daily", "10.1.2.0/24", "Mozilla/5.0", "shop.example") == (
        0xDBC264EDF6F784D1,
        0x7EBB5F79E038BE27,
    )
    assert visitor_key(SECRET[:16], "visitor", "v1") != visitor_key(SECRET, "visitor", "v1")


def test_no_campaign_is_zero_and_null_is_empty() -> None:
    columns = ("source", "medium", "campaign", "click_id")
    rows = pl.DataFrame(
        [["", "", "", ""], [None, None, None, None], ["google", "cpc", "spring", ""], ["google", "cpc", "", "spring"]],
        schema=dict.fromkeys(columns, pl.String()),
        orient="row",
    )
    hashes = rows.select(campaign_hashes(*(pl.col(name) for name in columns))).to_series().to_list()
    assert hashes == [0, 0, 0x95FEF48210112711, 0x7C24030544602644]


def test_campaign_texts_that_hold_the_separator_have_different_hashes() -> None:
    columns = ("source", "medium", "campaign", "click_id")
    tuples = [
        ["a\x1fb", "", "", ""],
        ["a", "b", "", ""],
        ["a\x1f", "b", "", ""],
        ["a", "\x1fb", "", ""],
        ["a\x1e1b", "", "", ""],
        ["a\x1e0\x1e1b", "", "", ""],
        ["\x1f\x1f\x1f", "", "", ""],
        ["\x1f", "", "", ""],
        ["", "", "", "\x1f"],
    ]
    rows = pl.DataFrame(tuples, schema=dict.fromkeys(columns, pl.String()), orient="row")
    hashes = rows.select(campaign_hashes(*(pl.col(name) for name in columns))).to_series()
    assert hashes.n_unique() == len(tuples)
    assert 0 not in hashes.to_list()


def test_a_site_without_spread_has_one_partition() -> None:
    site = np.array([hash64("merchants/m/sites/s")] * 3, dtype=np.uint64)
    visitors = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    single, four = np.ones(3, dtype=np.uint64), np.full(3, 4, dtype=np.uint64)
    home = hash64("merchants/m/sites/s") % 8
    assert partition_of(site, visitors, single, 8).tolist() == [home] * 3
    assert partition_of(site, visitors, four, 8).tolist() == [home, (home + 1) % 8, (home + 3) % 8]
