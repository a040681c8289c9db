"""Flags hits that match the sites' exclusion rules.

The log contains the flags, so a replay does not depend on the rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.rows.rule_flags import RULE_COLUMNS, matcher_of, rule_flags
from hitmesh.model.sites import Site


def with_rule_flags(columns: list[pl.Series], sites: Sequence[Site], site: npt.NDArray[np.integer]) -> list[pl.Series]:
    """Return the stored columns of accepted hits, with flags for the exclusion rules that are in force now.

    Args:
        columns: the columns of HITS_COLUMNS, in this order.
        sites: the sites of the hits.
        site: (n,) each hit's index into `sites`.
    """
    with_rules = np.array([bool(each.rules.version) for each in sites], dtype=np.bool_)
    if not with_rules.any():
        return columns
    by_name = {series.name: series for series in columns}
    found = rule_flags(
        pl.DataFrame([by_name[name] for name in RULE_COLUMNS]),
        [matcher_of(each.rules.current) for each in sites],
        site,
    )
    if not found.any():
        return columns
    flags = pl.Series("flags", by_name["flags"].to_numpy() | found)
    return [flags if series.name == "flags" else series for series in columns]
