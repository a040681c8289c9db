"""Filter patterns in RE2 syntax, matched together against the distinct values of a dimension.

Two limits bound the cost. The first limit applies to the number of RE2 instructions in all patterns. The second limit
applies to the number of instructions times the number of characters in all values. RE2's time is at most proportional
to instructions × characters, so the limits bound the time. An error names the exceeded limit. The checkpoint is called
between blocks of values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import re2

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

# Maximum number of RE2 instructions in all patterns of a query together. The pattern `^/blog/` compiles to 4
# instructions, and most patterns of 500 characters compile to fewer than 1,000.
MAX_PROGRAM: Final = 10_000
# Maximum number of steps (RE2 instructions × characters to match). At the limit, matching usually takes a few
# milliseconds of CPU time. If RE2 runs out of memory at every value and rebuilds the automaton, matching takes about 15
# s.
MAX_STEPS: Final = 1_000_000_000
# Maximum memory of an automaton, in bytes.
MAX_MEMORY: Final = 8 << 20
# Maximum number of RE2 instructions in an automaton that has several patterns. The states of a larger automaton would
# exceed MAX_MEMORY, and RE2 would rebuild them at every byte.
_SET_PROGRAM: Final = 1_000
# Number of values between two checkpoint calls.
_BLOCK: Final = 64


def program_of(pattern: str, max_memory: int = 1 << 20) -> int:
    """Return the number of RE2 instructions to which the pattern compiles.

    Raises:
        RefusedError: the pattern is not valid RE2, or needs more than `max_memory` bytes (INVALID_REGEXP).

    Example:
        >>> program_of("^/blog/") < program_of("^/blog/[0-9]{4}/")
        True
    """
    try:
        size: int = re2.compile(pattern, _options(max_memory)).programsize
    except re2.error as error:
        complaint = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise RefusedError(
            f"regexp {pattern[:64]!r}: {complaint}; the syntax is RE2 (no look-around, no back-references)",
            field="filter",
            reason=ErrorReason.INVALID_REGEXP,
            value=pattern,
            cause=complaint,
        ) from error
    return size


def refuse_program(patterns: Iterable[str], max_program: int = MAX_PROGRAM) -> None:
    """Raise RefusedError if the patterns together compile to more than `max_program` RE2 instructions.

    Raises:
        RefusedError: the patterns exceed the limit (FILTER_TOO_DEAR), or a pattern is not valid RE2 (INVALID_REGEXP).

    Example:
        >>> refuse_program(["^/blog/", "^/shop/"])
        >>> refuse_program(["(?i)[a-z]{1000}"], max_program=100)
        Traceback (most recent call last):
            ...
        hitmesh.model.errors.RefusedError: filter: the regexps compile to ... instructions; the limit is 100: ...
    """
    size = sum(map(program_of, dict.fromkeys(patterns)))
    if size > max_program:
        raise RefusedError(
            f"filter: the regexps compile to {size:,} instructions; the limit is {max_program:,}: use in(…), fewer "
            "regexps, or smaller counts in {…}",
            field="filter",
            reason=ErrorReason.FILTER_TOO_DEAR,
            size=size,
            limit=max_program,
        )


def matching_values(
    patterns: Iterable[str],
    values: Sequence[str],
    checkpoint: Checkpoint = unwatched,
    *,
    max_program: int = MAX_PROGRAM,
    max_steps: int = MAX_STEPS,
    block: int = _BLOCK,
) -> dict[str, list[str]]:
    """Return for each pattern the values in which the pattern matches, in the order of `values`.

    Raises:
        RefusedError: a pattern is not valid RE2 (INVALID_REGEXP), or the patterns, alone or together with the values,
            exceed a limit (FILTER_TOO_DEAR).

    Example:
        >>> matching_values(["^/blog/", "shoes$"], ["/blog/shoes", "/shop/shoes"])
        {'^/blog/': ['/blog/shoes'], 'shoes$': ['/blog/shoes', '/shop/shoes']}
    """
    sizes = {pattern: program_of(pattern) for pattern in patterns}
    refuse_program(sizes, max_program)
    size, length = sum(sizes.values()), sum(map(len, values))
    if size * length > max_steps:
        raise RefusedError(
            f"filter: regexps of {size:,} instructions on {len(values):,} values of {length:,} characters need "
            f"{size * length:,} steps; the limit is {max_steps:,}: use in(…), simpler regexps or a shorter range",
            field="filter",
            reason=ErrorReason.FILTER_TOO_DEAR,
            size=size,
            values=len(values),
            length=length,
            steps=size * length,
            limit=max_steps,
        )
    found: dict[str, list[str]] = {pattern: [] for pattern in sizes}
    for together in _together(sizes):
        automaton = _Automaton(together)
        for first in range(0, len(values), block):
            checkpoint()
            for value in islice(values, first, first + block):
                for pattern in automaton.found_in(value):
                    found[pattern].append(value)
    return found


class _Automaton:
    """Patterns that are matched in a single pass."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._single = re2.compile(patterns[0], _options(MAX_MEMORY))
        self._set = re2.Set.SearchSet(_options(MAX_MEMORY))
        for pattern in patterns:
            self._set.Add(pattern)
        try:
            self._set.Compile()
        except re2.error:  # a pattern that is alone in its group may need more than MAX_MEMORY
            self._set = None

    def found_in(self, value: str) -> Iterable[str]:
        if self._set is None:
            return self._patterns if self._single.search(value) else ()
        return [self._patterns[index] for index in self._set.Match(value) or ()]


def _together(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Yield the patterns in groups of at most _SET_PROGRAM instructions; a larger pattern forms a group by itself."""
    group: list[str] = []
    size = 0
    for pattern, its_size in sizes.items():
        if group and size + its_size > _SET_PROGRAM:
            yield group
            group, size = [], 0
        group.append(pattern)
        size += its_size
    if group:
        yield group


def _options(max_memory: int) -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = max_memory
    return options
