"""RE2 patterns in exclusion rules. The same limits apply when a rule is created and when hits are matched.

For a value, the time that RE2 needs is at most proportional to instructions × bytes. All sites share a thread in the
collector. The instructions and the bytes are therefore limited, so that a site's patterns do not delay the hits of
other sites. Pure.
"""

from __future__ import annotations

from typing import Final

import re2

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

MAX_RULE_PROGRAM: Final = 150
"""Maximum RE2 instructions in a site's patterns, per kind."""
MATCHED_BYTES: Final = 512
"""Patterns are matched only against the first MATCHED_BYTES bytes of a value in UTF-8."""
PATTERN_MEMORY: Final = 1 << 16
"""Maximum memory for a site's compiled patterns, per kind, in bytes.

With a higher limit, RE2 would build more states before it discards the states, so the slowest patterns would take
longer.
"""
VALUE_STEPS: Final = 100
"""Steps that are added for each matched value, because a call of RE2 costs as much time as these steps."""


class RulePatterns:
    """A site's compiled patterns for one kind of rule. Not thread-safe.

    Attributes:
        size: the number of RE2 instructions.

    Raises:
        RefusedError: a pattern is not valid RE2 or needs too much memory (INVALID_REGEXP), or the patterns have too
            many instructions (FILTER_TOO_DEAR).

    Example:
        >>> patterns = RulePatterns(("^/admin/", "(?i)test"))
        >>> patterns("/admin/users"), patterns("/a/TEST"), patterns("/shop")
        (True, True, False)
    """

    def __init__(self, values: tuple[str, ...]) -> None:
        self._compiled = _compiled("|".join(map(_group, values)), values[-1])
        self.size = size = self._compiled.programsize
        if size > MAX_RULE_PROGRAM:
            raise RefusedError(
                f"the site's patterns of this kind compile to {size:,} instructions; the limit is "
                f"{MAX_RULE_PROGRAM:,}: use shorter patterns, or smaller counts in {{…}}",
                field="rule.value",
                reason=ErrorReason.FILTER_TOO_DEAR,
                size=size,
                limit=MAX_RULE_PROGRAM,
            )

    def __call__(self, text: str) -> bool:
        """Return whether any pattern matches anywhere in the text's first MATCHED_BYTES.

        Example:
            >>> RulePatterns(("^/admin/",))("/admin/users")
            True
        """
        return self._compiled.search(text.encode()[:MATCHED_BYTES]) is not None


def _group(value: str) -> str:
    r"""Return a pattern in a group, so that the pattern can be an alternative in a larger pattern.

    Example:
        >>> _group("^/a"), _group(r"\Qa/b")
        ('(?:^/a)', '(?:\\Qa/b\\E)')
    """
    _compiled(value, value)
    group = f"(?:{value})"
    try:
        _compiled(group, value)
    except RefusedError:
        return f"(?:{value}\\E)"  # in RE2, an unclosed \Q quotes up to the end of the pattern
    return group


def _compiled(pattern: str, value: str) -> re2._Regexp:
    """Compile a pattern; an error names the rule's value."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = PATTERN_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        complaint = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        hint = _hint(complaint)
        raise RefusedError(
            f"regexp {value[:64]!r}: {complaint}: {hint}",
            field="rule.value",
            reason=ErrorReason.INVALID_REGEXP,
            value=value,
            cause=complaint,
        ) from error


def _hint(complaint: str) -> str:
    """Return the advice for an error that RE2 reports."""
    if "too large" in complaint:
        return "use smaller counts in {…}"
    if "repetition size" in complaint:
        return "in {…}, use counts up to 1,000 and write the smaller count first"
    if "repetition" in complaint:
        return "write \\* or \\+ for the character itself, or an expression before the repetition"
    if "(?" in complaint:
        return "the syntax is RE2 (no look-around)"
    return "the syntax is RE2"
