"""Test theta sketches.

Sketches and unions have the same bytes as those of the DataSketches library. Bytes that are not a valid theta sketch
are refused.
"""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from datasketches import compact_theta_sketch, theta_union, update_theta_sketch

from hitmesh.model.arrays import U64Array
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.sketches import unions as sketches_module
from hitmesh.model.sketches.theta import MAX_THETA
from hitmesh.model.sketches.unions import cell_sketches, exact_limit, merge_by_group, theta_hashes
from tests.support.unions import estimate, union, union_by_group

Keys = U64Array
EXACT_LIMIT = exact_limit(LG_K_CELL)
GOLDEN = Path(__file__).parents[1] / "golden" / "theta_sketches.json"


def keys_from(first: int, n: int) -> Keys:
    """Return `n` consecutive keys of a fixed sequence, beginning with key number `first`.

    The keys differ and are spread over all 64 bits.
    """
    return np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def library_sketch(keys: Keys, lg_k: int = LG_K_CELL) -> bytes:
    sketch = update_theta_sketch(lg_k)
    for key in keys.view(np.int64).tolist():
        sketch.update(key)
    return bytes(sketch.compact().serialize())


def library_union(parts: list[bytes]) -> compact_theta_sketch:
    united = theta_union(14)
    for part in parts:
        united.update(compact_theta_sketch.deserialize(part))
    return united.get_result()


def sketch_of(keys: Keys, lg_k: int = LG_K_CELL) -> bytes:
    return bytes(cell_sketches(keys, np.zeros(len(keys), np.int64), 1, lg_k)[0].as_py())


@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 4_096, 7_000, 7_680, 7_681, 7_682, 10_000, 60_000])
def test_bytes_of_a_cell_sketch_are_those_of_the_library(n: int) -> None:
    keys = keys_from(1, n)
    with_repeats = np.concatenate([keys[: n // 2], keys, keys[n // 3 :]])
    assert sketch_of(with_repeats) == library_sketch(with_repeats)


@pytest.mark.parametrize("lg_k", [5, 6, 8])  # the library's minimum
@pytest.mark.parametrize("beyond", [-1, 0, 1, 2, 40, 700])
def test_bytes_of_a_smaller_cell_sketch_are_those_of_the_library(lg_k: int, beyond: int) -> None:
    keys = keys_from(1, exact_limit(lg_k) + beyond)
    assert sketch_of(keys, lg_k) == library_sketch(keys, lg_k)
    assert union([sketch_of(keys, lg_k)]).exact == (beyond <= 0)


def test_bytes_of_a_cell_sketch_never_change() -> None:
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert golden["key"] == "i * 0x9E3779B97F4A7C15 mod 2**64 for i in 1 to n"
    for entry in golden["sketches"]:
        octets = sketch_of(keys_from(1, entry["n"]))
        assert hashlib.sha256(octets).hexdigest() == entry["sha256"]
        if "base64" in entry:
            assert base64.b64encode(octets).decode() == entry["base64"]


def test_all_64_bits_of_a_key_count_and_an_integer_is_not_its_text() -> None:
    extremes = np.array([0, 1, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    assert sketch_of(extremes) == library_sketch(extremes)
    text = update_theta_sketch(12)
    text.update("5")
    assert sketch_of(np.array([5], np.uint64)) != text.compact().serialize()


def test_groups_are_sketched_apart_whatever_the_order_of_rows() -> None:
    rng = np.random.default_rng(7)
    keys = keys_from(1, 300)[rng.integers(0, 300, 2_000)]
    groups = rng.integers(0, 60, 2_000)
    found = cell_sketches(keys, groups, 64).to_pylist()
    assert found == [library_sketch(keys[groups == group]) for group in range(64)]
    order = rng.permutation(2_000)
    assert cell_sketches(keys[order], groups[order].astype(np.int32), 64).to_pylist() == found


def test_a_group_that_samples_itself_leaves_its_neighbours_exact() -> None:
    keys = np.concatenate([keys_from(1, 5), keys_from(1, EXACT_LIMIT + 1), keys_from(1, 9)])
    groups = np.repeat([0, 1, 3], [5, EXACT_LIMIT + 1, 9])
    found = cell_sketches(keys, groups, 4).to_pylist()
    assert found == [library_sketch(keys[groups == group]) for group in range(4)]


def test_hashes_that_share_their_upper_bits_stay_distinct(monkeypatch: pytest.MonkeyPatch) -> None:
    # The hashes differ only in the lowest bits. If a sort key began with a group number, the lowest bits would not fit
    # into the key.
    near = np.array([0b1001, 0b1000, 0b1001, 0b1010, 0b1000], np.uint64)
    monkeypatch.setattr(sketches_module, "theta_hashes", lambda keys: near)
    found = cell_sketches(near, np.full(5, 200), 256)
    assert union([found[200].as_py()]).hashes.tolist() == [0b1000, 0b1001, 0b1010]
    assert estimate(union([found[0].as_py()])) == 0


def test_hashes_are_below_the_largest_theta() -> None:
    hashes = theta_hashes(keys_from(1, 20_000))
    assert int(hashes.max()) < MAX_THETA
    assert len(np.unique(hashes)) == 20_000


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [1], [5, 5, 0], [4_000, 7_000], [7_680, 7_680, 7_680]])
def test_exact_union_counts_and_writes_as_the_library(sizes: list[int]) -> None:
    parts = [sketch_of(keys_from(1 + 1_000 * i, n)) for i, n in enumerate(sizes)]
    found, expected = union(parts), library_union(parts)
    assert found.exact
    assert found.rse == 0
    assert estimate(found) == expected.get_estimate()
    assert found.to_bytes() == expected.serialize()
    assert found.lower_bound() == found.upper_bound() == estimate(found)


@pytest.mark.parametrize(
    "sizes", [[10_000], [10_000, 3], [10_000, 20_000, 50_000], [7_680] * 3, [7_680] * 5, [50_000] * 4 + [100]]
)
def test_estimating_union_counts_and_writes_as_the_library(sizes: list[int]) -> None:
    starts = np.cumsum([1, *sizes])
    parts = [sketch_of(keys_from(int(start), n)) for start, n in zip(starts, sizes, strict=False)]
    found, expected = union(parts), library_union(parts)
    assert estimate(found) == expected.get_estimate()
    assert found.to_bytes() == expected.serialize()
    assert found.exact is not expected.is_estimation_mode()
    assert found.lower_bound() == expected.get_lower_bound(2)
    assert found.upper_bound() == expected.get_upper_bound(2)
    assert found.lower_bound() <= sum(sizes) <= found.upper_bound()
    if not found.exact:
        assert 0 < found.rse < 0.02
        assert abs(estimate(found) / sum(sizes) - 1) < 4 * found.rse


def test_an_empty_sample_below_theta_is_not_an_empty_sketch() -> None:
    rare = update_theta_sketch(12, 1e-6)
    rare.update(1)
    part = bytes(rare.compact().serialize())
    found = union([part])
    assert (estimate(found), found.exact, found.rse) == (0.0, False, 1.0)
    assert found.to_bytes() == library_union([part]).serialize()


def test_groups_unite_apart_and_mixed_modes_agree_with_the_library() -> None:
    rng = np.random.default_rng(3)
    sizes = [0, 1, 2, 900, 8_000, 30_000, 1, 1, 7_680, 7_680, 7_680, 0]
    parts = [sketch_of(keys_from(int(rng.integers(1, 40_000)), n)) for n in sizes]
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4, 5])
    merged = merge_by_group(pa.array(parts, pa.binary()), groups, 7)
    estimates, exact = union_by_group(pa.array(parts, pa.binary()), groups, 7)
    assert estimates.dtype == np.float64
    for group in range(7):
        expected = library_union([part for part, of in zip(parts, groups, strict=True) if of == group])
        assert estimates[group] == expected.get_estimate()
        assert exact[group] == (not expected.is_estimation_mode())
        assert merged.to_arrow()[group].as_py() == expected.serialize()
        assert estimate(merged[group]) == estimates[group]


def test_merge_at_the_size_of_a_cell_agrees_with_a_library_union_of_that_size() -> None:
    parts = [sketch_of(keys_from(1, 4_000)), sketch_of(keys_from(4_001, 4_000))]
    united = theta_union(12)
    for part in parts:
        united.update(compact_theta_sketch.deserialize(part))
    merged = merge_by_group(pa.array(parts), np.zeros(2, np.int64), 1, lg_k=12)
    assert merged.to_arrow()[0].as_py() == united.get_result().serialize()


def test_every_kind_of_binary_column_is_taken_and_null_counts_as_empty() -> None:
    parts = [sketch_of(keys_from(1, 3)), None, sketch_of(keys_from(3, 4)), sketch_of(keys_from(50, 1))]
    groups = np.array([0, 0, 0, 1], np.int32)
    columns = [
        pa.array(parts, pa.binary()),
        pa.array(parts, pa.large_binary()),
        pa.array([b"cut", *parts], pa.large_binary())[1:],
        pa.chunked_array([parts[:2], parts[2:]], pa.binary()),
        pl.Series(parts, dtype=pl.Binary),
        pl.concat([pl.Series(parts[:1], dtype=pl.Binary), pl.Series(parts[1:], dtype=pl.Binary)]),
    ]
    for column in columns:
        estimates, exact = union_by_group(column, groups, 3)
        assert estimates.tolist() == [6.0, 1.0, 0.0]
        assert exact.all()
    nothing, _ = union_by_group(pl.Series([], dtype=pl.Binary), np.empty(0, np.int64), 2)
    assert nothing.tolist() == [0.0, 0.0]
    assert len(merge_by_group(pa.array([], pa.binary()), np.empty(0, np.int64), 0).to_arrow()) == 0


def test_polars_takes_cell_sketches_and_gives_them_back() -> None:
    column = pl.Series(cell_sketches(keys_from(1, 10), np.arange(10) % 3, 4))
    assert column.dtype == pl.Binary
    estimates, _ = union_by_group(column, np.zeros(4, np.int64), 1)
    assert estimates.tolist() == [10.0]


def with_byte(sketch: bytes, index: int, value: int) -> bytes:
    return sketch[:index] + bytes([value]) + sketch[index + 1 :]


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", "truncated"),
        (b"1234567", "truncated"),
        (sketch_of(keys_from(1, 5))[:-8], "does not match the hash count"),
        (sketch_of(keys_from(1, 5)) + bytes(8), "does not match the hash count"),
        (sketch_of(keys_from(1, 1))[:8], "does not match the hash count"),
        (sketch_of(keys_from(1, 5))[:8], "truncated"),
        (with_byte(sketch_of(keys_from(1, 5)), 0, 4), "preamble"),
        (with_byte(sketch_of(keys_from(1, 5)), 1, 4), "serial version 3"),
        (with_byte(sketch_of(keys_from(1, 5)), 2, 7), "serial version 3"),
        (with_byte(sketch_of(keys_from(1, 5)), 5, 0x1B), "big-endian"),
        (with_byte(sketch_of(keys_from(1, 5)), 6, 0), "the seed must be 9001"),
    ],
)
def test_bytes_that_are_no_sketch_of_ours_are_refused(octets: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        union([sketch_of(keys_from(1, 2)), octets])


def test_a_sketch_of_another_seed_or_a_compressed_one_is_refused() -> None:
    other = update_theta_sketch(12, 1.0, 42)
    ours = update_theta_sketch(12)
    for key in range(100):
        other.update(key)
        ours.update(key)
    with pytest.raises(ValueError, match="the seed must be 9001"):
        union([bytes(other.compact().serialize())])
    with pytest.raises(ValueError, match="or compressed"):
        union([bytes(ours.compact().serialize(compress=True))])


def test_unordered_sketches_of_other_writers_are_read() -> None:
    sketch = update_theta_sketch(12)
    for key in range(100):
        sketch.update(key)
    unordered = bytes(sketch.compact(ordered=False).serialize())
    assert union([unordered]).to_bytes() == sketch.compact().serialize()


def test_group_ids_that_do_not_fit_are_refused() -> None:
    keys = keys_from(1, 2)
    with pytest.raises(ValueError, match="1 group ids for 2 rows"):
        cell_sketches(keys, np.array([0]), 1)
    for bad in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="not in 0 to 1"):
            cell_sketches(keys, np.array(bad), 2)


@pytest.mark.parametrize("visitors", [EXACT_LIMIT, EXACT_LIMIT + 1, 16_000, 40_000])
def test_row_that_windows_cut_differently_is_exact_or_marked_as_an_estimate(visitors: int) -> None:
    """If a window has more than EXACT_LIMIT visitors, its sketch is a sample.

    If records are divided into other windows, an estimate may change, but an exact number may not.
    """
    keys = np.random.default_rng(visitors).permutation(keys_from(1, visitors))
    for windows in (1, 2, 3, 10, 100):
        parts = [cell_sketches(part, np.zeros(len(part), np.int64), 1)[0] for part in np.array_split(keys, windows)]
        cuts = [bytes(part.as_py()) for part in parts]
        assert estimate(union(cuts)) == estimate(union(reversed(cuts)))
        column = pa.array(cuts, pa.large_binary())
        (count,), (is_exact,) = union_by_group(column, np.zeros(windows, np.int64), 1)
        assert count == pytest.approx(visitors, rel=0 if is_exact else 4 / np.sqrt(2**LG_K_CELL))
        assert is_exact or visitors > EXACT_LIMIT
