"""Properties of theta unions: commutative, associative, idempotent, at least the largest part, at most the sum (P5)."""

from random import Random

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.sketches.theta import Theta
from hitmesh.model.sketches.unions import cell_sketches, merge_by_group
from tests.support.examples import examples
from tests.support.unions import estimate, union, union_by_group

# A part is a range in a fixed sequence of keys. Parts may overlap or be empty. Some sizes are just at the limit up to
# which a sketch is exact.
runs = st.tuples(
    st.integers(0, 30_000),
    st.one_of(st.integers(0, 5), st.integers(0, 3_000), st.sampled_from([7_680, 7_681, 20_000])),
)


def sketch_of_run(run: tuple[int, int]) -> bytes:
    first, n = run
    keys = np.arange(first, first + n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return bytes(cell_sketches(keys, np.zeros(n, np.int64), 1)[0].as_py())


def same(left: Theta, right: Theta) -> bool:
    return left.theta == right.theta and left.hashes.tolist() == right.hashes.tolist()


@given(st.lists(runs, max_size=6), st.randoms(use_true_random=False))
@examples(40)
def test_union_is_commutative_associative_and_idempotent(parts_of: list[tuple[int, int]], random: Random) -> None:
    parts = [sketch_of_run(run) for run in parts_of]
    whole = union(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert same(union(shuffled), whole)
    assert same(union(parts + parts), whole)
    half = len(parts) // 2
    nested = union([union(parts[:half]).to_bytes(), union(parts[half:]).to_bytes()])
    assert same(nested, whole)
    assert same(union([whole.to_bytes()]), whole)


@given(st.lists(runs, min_size=1, max_size=6))
@examples(40)
def test_union_is_at_least_its_largest_part_and_at_most_their_sum(parts_of: list[tuple[int, int]]) -> None:
    parts = [sketch_of_run(run) for run in parts_of]
    counts = [estimate(union([part])) for part in parts]
    whole = union(parts)
    # An estimate may deviate by five times its standard error. An exact count may not deviate.
    slack = 5 * max(whole.rse, *(union([part]).rse for part in parts), 0.0)
    assert estimate(whole) * (1 + slack) >= max(counts)
    assert estimate(whole) <= sum(counts) * (1 + slack)
    true_count = len({key for first, n in parts_of for key in range(first, first + n)})
    if whole.exact:
        assert estimate(whole) == true_count
    else:
        assert abs(estimate(whole) - true_count) <= 6 * whole.rse * true_count


@given(st.lists(st.tuples(runs, st.integers(0, 3)), max_size=8))
@examples(40)
def test_union_by_group_is_the_union_of_each_group(parts_of: list[tuple[tuple[int, int], int]]) -> None:
    parts = [sketch_of_run(run) for run, _ in parts_of]
    groups = np.array([group for _, group in parts_of], np.int64)
    column = pa.array(parts, pa.binary())
    merged = merge_by_group(column, groups, 4)
    estimates, exact = union_by_group(column, groups, 4)
    for group in range(4):
        alone = union([part for part, of in zip(parts, groups.tolist(), strict=True) if of == group])
        assert same(merged[group], alone)
        assert (estimates[group], exact[group]) == (estimate(alone), alone.exact)
