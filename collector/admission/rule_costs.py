"""Decides which batches must wait because their site's exclusion rules have patterns that would cost too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.exclusion import RuleKind
from hitmesh.model.rows.rule_flags import MATCHED, matcher_of, rule_steps
from hitmesh.model.sites import Site

RuleSteps = Callable[[str, Sequence[int]], int]
"""Charges a site for the steps that each of its batches needs. The batches are charged one after the other.

Returns the number of batches that pass (collector.rule_budget.RuleBudget).
"""
_PATTERNS: Final = tuple(MATCHED[kind].column for kind in (RuleKind.PAGE, RuleKind.USER_AGENT))


def all_pass(site: str, steps: Sequence[int]) -> int:
    """Let all batches pass."""
    return len(steps)


def put_off_frames(
    column: Callable[[str], pl.Series],
    sites: Sequence[Site],
    site: npt.NDArray[np.integer],
    frame: npt.NDArray[np.integer],
    charge: RuleSteps,
) -> Mapping[int, str]:
    """Return the frames that must wait, each with its site. The steps are charged before any pattern is matched.

    Args:
        column: returns the values of a column for the accepted hits.
        sites: the sites of the hits.
        site: (n,) each hit's index into `sites`.
        frame: (n,) each hit's frame.
        charge: charges a site for the steps of its frames. Each distinct value is matched once, and the first frame
            with this value is charged.
    """
    if not any(each.rules.version for each in sites):
        return {}
    matchers = [matcher_of(each.rules.current) for each in sites]
    with_patterns = [number for number, matcher in enumerate(matchers) if matcher.sizes]
    if not with_patterns:
        return {}
    values = rule_steps(pl.DataFrame([column(name) for name in _PATTERNS]), matchers, site)
    needed = values.select("steps", frame=pl.Series(frame[values["first"].to_numpy()], dtype=pl.Int64))
    by_frame = dict(needed.group_by("frame").agg(pl.col("steps").sum()).iter_rows())
    put_off: dict[int, str] = {}
    for number in with_patterns:
        frames = np.unique(frame[site == number]).tolist()
        passing = charge(sites[number].name, [by_frame.get(each, 0) for each in frames])
        put_off |= dict.fromkeys(frames[passing:], sites[number].name)
    return put_off
