"""Checks whether the stream's ledger balances (rule D5). The functions are pure, and take ledger sums."""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.ledger import LedgerClass, LedgerKind

# The equations that must hold for each (site, at), by kind of ledger entry. In each equation, the count of the first
# class must equal the sum of the counts of the other classes.
_EQUATIONS: Final = {
    LedgerKind.CELL: (LedgerClass.RECEIVED, (LedgerClass.REJECTED, LedgerClass.ACCEPTED)),
    LedgerKind.DAY: (
        LedgerClass.ACCEPTED,
        (
            LedgerClass.COUNTED,
            LedgerClass.DUPLICATE,
            LedgerClass.EXCLUDED,
            LedgerClass.PENDING,
            LedgerClass.ERASED,
        ),
    ),
}


def unbalanced_hits(sums: pl.DataFrame) -> int:
    """Return how many hits in the ledger are unbalanced, over all sites and times. If the ledger balances, return 0.

    If the counts agree but the checksums differ, two errors hide each other. For example, a hit was lost, and another
    hit was counted twice. The two errors together count as a single unbalanced hit.

    Args:
        sums: LEDGER_SUMS.
    """
    return sum(int(by_site["unbalanced"].sum()) for by_site in _by_site(sums))


def unbalanced_sites(sums: pl.DataFrame) -> list[str]:
    """Return the sorted sites for which an equation fails, including "" (no site).

    `sums` is as in `unbalanced_hits`.
    """
    sites = pl.concat([by_site.filter(pl.col("unbalanced") != 0)["site"] for by_site in _by_site(sums)])
    return sites.unique().sort().to_list()


def _by_site(sums: pl.DataFrame) -> list[pl.DataFrame]:
    return [_of_equation(sums, kind, whole, parts) for kind, (whole, parts) in _EQUATIONS.items()]


def _of_equation(sums: pl.DataFrame, kind: str, whole: str, parts: tuple[LedgerClass, ...]) -> pl.DataFrame:
    of_kind = sums.filter(pl.col("kind") == kind)
    is_whole = pl.col("class") == whole
    sides = of_kind.group_by("site", "at").agg(
        pl.col("hits").filter(is_whole).sum().alias("whole"),
        pl.col("hits").filter(~is_whole & pl.col("class").is_in(list(parts))).sum().alias("parts"),
        pl.col("sum64").filter(is_whole).sum().alias("whole_sum"),
        pl.col("sum64").filter(~is_whole & pl.col("class").is_in(list(parts))).sum().alias("parts_sum"),
        pl.col("xor64").bitwise_xor().alias("xor"),
    )
    differing = (pl.col("whole") - pl.col("parts")).abs()
    masked = (differing == 0) & ((pl.col("whole_sum") != pl.col("parts_sum")) | (pl.col("xor") != 0))
    unbalanced = (differing + masked.cast(pl.Int64)).alias("unbalanced")
    return sides.select("site", unbalanced).group_by("site").agg(pl.col("unbalanced").sum())
