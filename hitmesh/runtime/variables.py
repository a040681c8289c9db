"""Descriptions of environment variables: HITMESH_* settings with type, unit, bounds, default and meaning. Pure.

docs/settings.md and `hitmesh config show` print the descriptions. This module imports no slow modules, so that the
command line can describe its variables fast.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "HITMESH_"
HIDDEN: Final = "(hidden)"
NUMBERS: Final = ("integer", "number")
"""Variable kinds that must have a unit."""
_PASSWORD: Final = re.compile(r"(://[^/@\s:]*:)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks a setting's unit, as in `Annotated[int, Unit("rows")]`."""

    text: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """Marks a text setting's allowed values, in words, as in `Annotated[str, Allowed("HOST:PORT")]`."""

    text: str


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a setting whose value must never be printed, as in `Annotated[str, Secret()]`."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable.

    Attributes:
        name: the full name, such as HITMESH_COLLECTOR_LINGER_MS.
        kind: `integer`, `number`, `text` or `true or false`.
        unit: a number's unit; empty for other kinds.
        bounds: the values that are allowed, in words; empty if every value of the kind is allowed.
        default: the default, as written in the environment, or in words if the default depends on other values. None if
            the variable must be set.
        meaning: the meaning.
        is_secret: whether the value must never be printed.
    """

    name: str
    kind: str
    unit: str
    bounds: str
    default: str | None
    meaning: str
    is_secret: bool = False


def masked(variable: Variable, value: str) -> str:
    """Return a value for output: a secret is hidden, and so is the password in a URL.

    Example:
        >>> masked(Variable("HITMESH_TEST_SERVERS", "text", "", "", "", "A URL."), "kafka://me:12@host")
        'kafka://me:(hidden)@host'
    """
    if variable.is_secret and value:
        return HIDDEN
    return without_password(value)


def without_password(text: str) -> str:
    """Return a text in which passwords in URLs are hidden."""
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}@", text)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to a misspelt name; None if no name is similar.

    Example:
        >>> nearest_name("HITMESH_HOEM", ["HITMESH_KEY", "HITMESH_HOME"])
        'HITMESH_HOME'
    """
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1)), None)
