"""Store in raw.db which hits claim which order ids and refund ids.

Several hits may claim the same id. In the stream, only the first claim on an id counts; this claim is called the id's
holder. Orders and refunds have separate tables with the same columns. Settlement ignores the holders and decides from
all claims which claim counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.claim_rows import claim_of, claim_row
from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.positions import PartitionId, Position

_COLUMNS: Final = """site, order_id, log_id, partition_no, record_offset, row_no, log_time, visitor_hi,
    visitor_lo, hit_id, day, excluded, duplicate, total, currency"""
_CLAIMS: Final = {kind: f"{kind}_claims" for kind in ClaimKind}
_HOLDERS: Final = {kind: f"{kind}_holders" for kind in ClaimKind}


class EmbeddedOrderClaims:
    """Implements the port OrderClaims in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims durably in a single transaction; a claim that is already stored stays unchanged."""
        with self._database.writing() as transaction:
            for kind, table in _CLAIMS.items():
                transaction.run_many(
                    f"INSERT OR IGNORE INTO {table} ({_COLUMNS}) VALUES ({', '.join('?' * 15)})",
                    [claim_row(claim) for claim in claims if claim.kind is kind],
                )

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids in log order (log time, log, partition, offset, row)."""
        with self._database.reading() as transaction:
            return transaction.rows(
                lambda *row: claim_of(kind, row),
                f"""SELECT {_COLUMNS} FROM {_CLAIMS[kind]}
                WHERE site = ? AND order_id IN (SELECT value FROM json_each(?))
                ORDER BY log_time, log_id, partition_no, record_offset, row_no""",
                (site, json.dumps(list(order_ids))),
            )

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return, for each claim, whether this claim is the first on its order id (the id's holder).

        The first claim on an id becomes the holder. The whole call is a single transaction.
        """
        offsets: dict[tuple[ClaimKind, PartitionId], list[int]] = {}
        for claim in claims:
            partition = PartitionId(claim.position.log, claim.position.partition)
            offsets.setdefault((claim.kind, partition), []).append(claim.position.offset)
        with self._database.writing() as transaction:
            for kind, table in _HOLDERS.items():
                transaction.run_many(
                    f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (claim.site, claim.order_id, claim.excluded, *claim.position, claim.row)
                        for claim in claims
                        if claim.kind is kind
                    ],
                )
            holders = {
                (kind, holder)
                for (kind, partition), found in offsets.items()
                for holder in transaction.rows(
                    _holder,
                    f"""SELECT log_id, partition_no, record_offset, row_no FROM {_HOLDERS[kind]}
                    WHERE log_id = ? AND partition_no = ? AND record_offset BETWEEN ? AND ?""",
                    (*partition, min(found), max(found)),
                )
            }
        return [(claim.kind, (claim.position, claim.row)) in holders for claim in claims]

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Store refunds of whole orders in a single durable transaction. Idempotent."""
        with self._database.writing() as transaction:
            transaction.run_many("INSERT OR IGNORE INTO whole_refunds VALUES (?, ?, ?)", refunds)

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the days of each order's stored refunds, ascending; an order without a stored refund is absent."""
        with self._database.reading() as transaction:
            found = transaction.rows(
                WholeRefund,
                """SELECT site, order_id, day FROM whole_refunds
                WHERE site = ? AND order_id IN (SELECT value FROM json_each(?)) ORDER BY day""",
                (site, json.dumps(list(order_ids))),
            )
        days: dict[str, list[int]] = {}
        for refund in found:
            days.setdefault(refund.order_id, []).append(refund.day)
        return days

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Record, in a single durable transaction, which claims come from duplicate hits."""
        with self._database.writing() as transaction:
            for table in _CLAIMS.values():
                transaction.run_many(
                    f"""UPDATE {table} SET duplicate = ?
                    WHERE log_id = ? AND partition_no = ? AND record_offset = ? AND row_no = ? AND site = ?""",
                    [(duplicate, *position, row, site) for (position, row), duplicate in verdicts.items()],
                )

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims in a durable transaction, and overwrite the bytes; keep each id's holder (first claim)."""
        with self._database.erasing() as transaction:
            for kind, table in _CLAIMS.items():
                transaction.run_many(
                    f"""DELETE FROM {table}
                    WHERE log_id = ? AND partition_no = ? AND record_offset = ? AND row_no = ?""",
                    [(*claim.position, claim.row) for claim in claims if claim.kind is kind],
                )


def _holder(log: str, partition: int, offset: int, row: int) -> tuple[Position, int]:
    return Position(log, partition, offset), row
