"""The storage form of distinct counts: theta sketches as columns, and their bytes (journey steps 5 and 8).

This module reads and writes the bytes of sketches and estimates their distinct counts. The bytes equal the bytes that
Apache DataSketches writes (uncompressed compact ordered form, serial version 3, default seed). Druid, the DataSketches
library and this module can therefore read each other's sketches.

A sketch consists of a threshold theta and the distinct 63-bit hashes below theta. If theta is `MAX_THETA`, the sketch
contains every hash, and its count is exact. If theta is lower than `MAX_THETA`, the sketch is a sample, and its count
is an estimate.

`hitmesh.model.sketches.unions` builds and unites sketches. Hosts must be little-endian.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasketches import compact_theta_sketch

from hitmesh.model.arrays import BoolArray, I64Array, U64Array

SEED: Final = 9001
SEED_HASH: Final = 0x93CC  # murmur3 of SEED, present in every sketch with this seed
MAX_THETA: Final = 2**63 - 1
BOUND_STD_DEVS: Final = 2

_U64 = np.uint64
_FLAG_BIG_ENDIAN: Final = 1 << 0
_FLAG_EMPTY: Final = 1 << 2
_FLAGS_WRITTEN: Final = 1 << 1 | 1 << 3 | 1 << 4  # read-only, compact, ordered
_SERIAL_VERSION: Final = 3
_COMPACT_FAMILY: Final = 3
_HEADER: Final = _SERIAL_VERSION << 8 | _COMPACT_FAMILY << 16 | _FLAGS_WRITTEN << 40 | SEED_HASH << 48
_EMPTY_HEADER: Final = _HEADER | _FLAG_EMPTY << 40


@dataclass(frozen=True, eq=False)
class Theta:
    """A sketch. `hashes` are sorted, distinct and below `theta`."""

    theta: int
    hashes: U64Array

    @property
    def exact(self) -> bool:
        """Whether the sketch contains every hash, so that its count is exact.

        Example:
            >>> Theta(MAX_THETA, np.array([7, 9], np.uint64)).exact
            True
        """
        return self.theta == MAX_THETA

    @property
    def rse(self) -> float:
        """The estimate's relative standard error: 0 when exact, 1 when the sample is empty.

        Example:
            >>> Theta(MAX_THETA // 2, np.array([7, 9], np.uint64)).rse
            0.5
        """
        if self.exact:
            return 0.0
        sampled_fraction = float(self.theta) / float(MAX_THETA)
        return float(np.sqrt((1.0 - sampled_fraction) / len(self.hashes))) if len(self.hashes) else 1.0

    def lower_bound(self) -> float:
        """Return the lower bound of the true count, at two standard deviations.

        Example:
            >>> Theta(MAX_THETA, np.array([7, 9], np.uint64)).lower_bound()
            2.0
        """
        return float(compact_theta_sketch.deserialize(self.to_bytes()).get_lower_bound(BOUND_STD_DEVS))

    def upper_bound(self) -> float:
        """Return the upper bound of the true count, at two standard deviations.

        Example:
            >>> Theta(MAX_THETA, np.array([7, 9], np.uint64)).upper_bound()
            2.0
        """
        return float(compact_theta_sketch.deserialize(self.to_bytes()).get_upper_bound(BOUND_STD_DEVS))

    def to_bytes(self) -> bytes:
        """Return the sketch's bytes in the compact DataSketches form.

        Example:
            >>> Theta(MAX_THETA, np.array([7], np.uint64)).to_bytes().hex(" ", 8)
            '01030300001acc93 0700000000000000'
        """
        return bytes(Thetas.of_one(self).to_arrow()[0].as_py())


@dataclass(frozen=True, eq=False)
class Thetas:
    """A list of sketches, stored as columns.

    Sketch i has `counts[i]` hashes. `hashes` contains the hashes of all sketches, sketch by sketch.

    `thetas` is uint64 (n,), `counts` is int64 (n,), and `hashes` is uint64 (sum of counts,). A sketch without hashes
    whose theta is `MAX_THETA` is the empty sketch.
    """

    thetas: U64Array
    counts: I64Array
    hashes: U64Array

    @staticmethod
    def of_one(sketch: Theta) -> "Thetas":
        """Return a single sketch as columns.

        Example:
            >>> len(Thetas.of_one(Theta(MAX_THETA, np.array([7, 9], np.uint64))))
            1
        """
        return Thetas(np.array([sketch.theta], np.uint64), np.array([len(sketch.hashes)], np.int64), sketch.hashes)

    def __len__(self) -> int:
        """Return the number of sketches."""
        return len(self.thetas)

    def __getitem__(self, index: int) -> Theta:
        """Return sketch `index`; its hashes are a view of `hashes`."""
        end = int(self.ends[index])
        return Theta(int(self.thetas[index]), self.hashes[end - int(self.counts[index]) : end])

    @cached_property
    def ends(self) -> I64Array:
        """For each sketch, the index in `hashes` just after the sketch's last hash.

        Example:
            >>> exact = np.full(2, MAX_THETA, np.uint64)
            >>> Thetas(exact, np.array([1, 2]), np.array([7, 7, 9], np.uint64)).ends.tolist()
            [1, 3]
        """
        return np.cumsum(self.counts)

    @cached_property
    def exact(self) -> BoolArray:
        """For each sketch, whether the sketch contains every hash, so that its count is exact.

        Example:
            >>> thetas = np.array([MAX_THETA, 8], np.uint64)
            >>> Thetas(thetas, np.array([1, 1]), np.array([7, 7], np.uint64)).exact.tolist()
            [True, False]
        """
        return np.equal(self.thetas, MAX_THETA)

    @cached_property
    def estimates(self) -> npt.NDArray[np.float64]:
        """Each sketch's estimated distinct count, the same float as in the DataSketches library.

        Example:
            >>> exact = np.full(2, MAX_THETA, np.uint64)
            >>> Thetas(exact, np.array([1, 2]), np.array([7, 7, 9], np.uint64)).estimates.tolist()
            [1.0, 2.0]
        """
        return self.counts / (self.thetas.astype(np.float64) / float(MAX_THETA))

    def to_arrow(self) -> pa.LargeBinaryArray:
        """Return a compact sketch per row, never null, as large binary, which polars reads without a copy.

        Example:
            >>> exact = np.full(2, MAX_THETA, np.uint64)
            >>> column = Thetas(exact, np.array([1, 2]), np.array([7, 7, 9], np.uint64)).to_arrow()
            >>> parse(column)[1].hashes.tolist()
            [7, 9]
        """
        single_or_empty = self.exact & (self.counts <= 1)
        preamble = np.where(self.exact, np.where(single_or_empty, 1, 2), 3)
        ends = np.cumsum(preamble + self.counts)
        starts = ends - preamble - self.counts
        words = np.empty(int(ends[-1]) if len(ends) else 0, np.uint64)
        empty = self.exact & (self.counts == 0)
        header = np.where(empty, _U64(_EMPTY_HEADER), _U64(_HEADER))
        words[starts] = header | preamble.astype(np.uint64)
        counted, sampled = preamble >= 2, preamble == 3
        words[starts[counted] + 1] = self.counts[counted]
        words[starts[sampled] + 2] = self.thetas[sampled]
        words[_entry_mask(len(words), starts, counted, sampled)] = self.hashes
        offsets = np.concatenate([np.zeros(1, np.int64), ends * 8])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(words)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(self), buffers)


def parse(column: pa.LargeBinaryArray) -> Thetas:
    """Parse compact sketches, given as large binary without nulls.

    Raises:
        ValueError: a sketch is compressed or truncated, or has an unsupported seed, family or version.

    Example:
        >>> stored = Theta(MAX_THETA, np.array([7, 9], np.uint64)).to_bytes()
        >>> parse(pa.array([stored], pa.large_binary())).hashes.tolist()
        [7, 9]
    """
    if len(column) == 0:
        return Thetas(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64))
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1]
    sizes = np.diff(offsets)
    require(bool(((sizes >= 8) & (sizes % 8 == 0)).all()), "a sketch is truncated or compressed")
    octets = np.frombuffer(column.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    words = (octets if octets.ctypes.data % 8 == 0 else octets.copy()).view(np.uint64)
    starts = (offsets[:-1] - offsets[0]) >> 3
    header = words[starts]
    preamble = (header & _U64(0x3F)).astype(np.int64)
    flags = header >> _U64(40) & _U64(0xFF)
    empty = (flags & _U64(_FLAG_EMPTY)) != 0
    _check_headers(header, preamble, flags, empty)
    require(bool((sizes >= preamble * 8).all()), "a sketch is truncated")
    counted, sampled = preamble >= 2, preamble == 3
    counts = np.where(empty, 0, 1)
    counts[counted] = (words[starts[counted] + 1] & _U64(0xFFFFFFFF)).astype(np.int64)
    require(bool((sizes == (preamble + counts) * 8).all()), "the size of a sketch does not match the hash count")
    thetas = np.full(len(column), MAX_THETA, np.uint64)
    thetas[sampled] = words[starts[sampled] + 2]
    return Thetas(thetas, counts, words[_entry_mask(len(words), starts, counted, sampled)])


def _check_headers(header: U64Array, preamble: I64Array, flags: U64Array, empty: BoolArray) -> None:
    version_and_family = header >> _U64(8) & _U64(0xFFFF)
    known = _U64(_SERIAL_VERSION | _COMPACT_FAMILY << 8)
    require(
        bool((version_and_family == known).all()),
        "a sketch is not an uncompressed compact theta sketch of serial version 3",
    )
    require(bool(((preamble >= 1) & (preamble <= 3)).all()), "a sketch's preamble does not have 1 to 3 words")
    require(not (flags & _U64(_FLAG_BIG_ENDIAN)).any(), "a sketch was written big-endian")
    # An empty sketch holds no hash, and some writers leave its seed hash at zero.
    require(
        bool((empty | (header >> _U64(48) == _U64(SEED_HASH))).all()),
        f"a sketch was built with an unsupported seed: the seed must be {SEED}",
    )


def _entry_mask(n_words: int, starts: I64Array, counted: BoolArray, sampled: BoolArray) -> BoolArray:
    """Return a mask of the 8-byte words that are hashes: all words except each sketch's header, count and theta."""
    is_entry = np.ones(n_words, np.bool_)
    is_entry[starts] = False
    is_entry[starts[counted] + 1] = False
    is_entry[starts[sampled] + 2] = False
    return is_entry


def require(condition: bool, complaint: str) -> None:
    """Raise ValueError with the message unless the condition is true.

    Example:
        >>> require(True, "a sketch is truncated")
        >>> require(False, "a sketch is truncated")
        Traceback (most recent call last):
            ...
        ValueError: a sketch is truncated
    """
    if not condition:
        raise ValueError(complaint)
