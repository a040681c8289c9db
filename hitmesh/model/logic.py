"""Versions of the logic that decides every number, and each version's visit rules (rules §4, architecture A9).

A version covers everything that turns raw hits into metric values. A released version never changes: a correction is a
new version. Each generation records the version that computed it. An answer can therefore name the version. A
recomputed result can be compared with the result of an earlier version.

Two versions can run side by side. V1 is the current version. V0 differs only in the gap between visits. V0 exists so
that a change of logic can be rehearsed and tested.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.sites import VisitPolicy

REHEARSAL_GAP_MS: Final = 180_000
"""The gap, 3 minutes, after which V0 begins a new visit."""


@dataclass(frozen=True, slots=True)
class Logic:
    """A version of the logic that computes metric values.

    Attributes:
        name: the name in commands, settings and answers.
        number: the number in stored generations and snapshots.
        parts: the version of each part of the logic, by name.
        gap_ms: the gap between visits, which replaces the gap in the site's policy; None to use the gap in the site's
            policy.
    """

    name: str
    number: int
    parts: Mapping[str, str] = field(default_factory=dict)
    gap_ms: int | None = None

    def policy(self, of_site: VisitPolicy) -> VisitPolicy:
        """Return a site's visit policy under this version.

        Example:
            >>> V0.policy(VisitPolicy()).gap_ms, V1.policy(VisitPolicy()).gap_ms
            (180000, 1800000)
        """
        return of_site if self.gap_ms is None else replace(of_site, version=self.parts["visits"], gap_ms=self.gap_ms)


_PARTS: Final = MappingProxyType(
    {
        "time": "v1",
        "identity": "v1",
        "duplicates": "v1",
        "visits": "v1",
        "classification": "v1",
        "channels": "v1",
        "exclusion": "v1",
    }
)
V0: Final = Logic("v0", 0, MappingProxyType({**_PARTS, "visits": "v0"}), gap_ms=REHEARSAL_GAP_MS)
V1: Final = Logic("v1", 2, _PARTS)
CURRENT: Final = V1
LOGICS: Final = (V0, V1)


def logic_named(name: str) -> Logic:
    """Return the version with this name.

    Raises:
        RefusedError: no version has this name.

    Example:
        >>> logic_named("v0").number
        0
    """
    for logic in LOGICS:
        if logic.name == name:
            return logic
    names = ", ".join(logic.name for logic in LOGICS)
    raise RefusedError(
        f"logic {name[:40]!r} is not a version of the logic: use one of {names}", field="logic", value=name, known=names
    )


def logic_numbered(number: int) -> Logic:
    """Return the version with this number. If the code no longer contains this version, return the current version.

    Example:
        >>> logic_numbered(0).name, logic_numbered(1).name
        ('v0', 'v1')
    """
    return next((logic for logic in LOGICS if logic.number == number), CURRENT)
