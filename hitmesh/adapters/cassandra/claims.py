"""Store on Cassandra which hits claim which order ids and refund ids (rule D3).

Several hits may claim the same id. In the stream, only the first claim on an id counts; this claim is called the id's
holder. A conditional write stores an id's holder. Settlement ignores the holders and decides from all claims which
claim counts. Orders and refunds have separate tables with equal columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.claim_rows import claim_of, claim_row
from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.positions import Position

_SPAN_BITS: Final = 10
_PARTITION: Final = 3  # log, partition, span
_Order: TypeAlias = tuple[str, str, bool]
_Holder: TypeAlias = tuple[Position, int]
_INSERT: Final = """INSERT INTO {kind}_claims (site, order_id, log, partition, offset, row_no, log_time, visitor_hi,
    visitor_lo, hit_id, day, excluded, duplicate, total, currency)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_POSITION: Final = """INSERT INTO {kind}_positions (log, partition, span, offset, row_no, site, order_id)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_SELECT: Final = """SELECT site, order_id, log, partition, offset, row_no, log_time, visitor_hi, visitor_lo, hit_id,
    day, excluded, duplicate, total, currency, verdict FROM {kind}_claims WHERE site = ? AND order_id = ?"""
_SELECT_POSITION: Final = """SELECT site, order_id FROM {kind}_positions
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND row_no = ?"""
_SELECT_HOLDER: Final = """SELECT log, partition, offset, row_no FROM {kind}_holders
    WHERE site = ? AND order_id = ? AND excluded = ?"""
_HOLD: Final = """INSERT INTO {kind}_holders (site, order_id, excluded, log, partition, offset, row_no)
    VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"""
_SET_VERDICT: Final = """UPDATE {kind}_claims SET verdict = ?
    WHERE site = ? AND order_id = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"""
_DELETE_POSITION: Final = """DELETE FROM {kind}_positions
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND row_no = ?"""
_DELETE: Final = """DELETE FROM {kind}_claims
    WHERE site = ? AND order_id = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"""
_NOTE_REFUND: Final = "INSERT INTO refund_days (site, order_id, day) VALUES (?, ?, ?)"
_SELECT_REFUNDS: Final = "SELECT order_id, day FROM refund_days WHERE site = ? AND order_id = ?"


class CassandraOrderClaims:
    """Implements the port OrderClaims.

    Orders have three tables: claims by order id, order ids by position, and holders by order id. Refunds also have
    three tables, with the same columns.
    """

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._tables = {kind: _Tables(session, kind) for kind in ClaimKind}

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims durably.

        A separate column holds the verdict (duplicate or not). Storing a claim a second time therefore does not change
        its verdict.
        """
        for kind, tables in self._tables.items():
            of_kind = [claim for claim in claims if claim.kind is kind]
            if of_kind:
                tables.claim(of_kind)

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids in log order (log time, log, partition, offset, row)."""
        return self._tables[kind].of(site, order_ids)

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return, for each claim, whether this claim is the first on its order id (the id's holder).

        The first claim on an id becomes the holder. A holder never changes. Usually, most ids have no holder yet, so
        the conditional write is sent without a read. If an id has a holder, the write fails and returns the holder.
        During a replay of the log, most ids already have a holder. If most ids in a call had a holder, the next call
        first reads the holders. A read is cheaper than a failed conditional write. If the call raises Unavailable, some
        of its claims may already be holders; a repeated call finds these holders.
        """
        held: dict[tuple[ClaimKind, _Holder], bool] = {}
        for kind, tables in self._tables.items():
            of_kind = [claim for claim in claims if claim.kind is kind]
            if of_kind:
                verdicts = tables.first(of_kind)
                held |= {(kind, (claim.position, claim.row)): won for claim, won in zip(of_kind, verdicts, strict=True)}
        return [held[claim.kind, (claim.position, claim.row)] for claim in claims]

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Store refunds of whole orders. The refunds are durable when the call returns. Idempotent."""
        self._session.run_many(_NOTE_REFUND, map(tuple, refunds))

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the days of each order's stored refunds, ascending; an order without a stored refund is absent."""
        answers = self._session.run_each(_SELECT_REFUNDS, [(site, order_id) for order_id in dict.fromkeys(order_ids)])
        return {rows[0].order_id: [row.day for row in rows] for rows in map(list, answers) if rows}

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Record which claims come from duplicate hits; ignore positions without a claim of this site."""
        for tables in self._tables.values():
            tables.set_duplicates(site, verdicts)

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims, but keep the holder (the first claim) of each id. Idempotent."""
        for kind, tables in self._tables.items():
            of_kind = [claim for claim in claims if claim.kind is kind]
            if of_kind:
                tables.remove(of_kind)


class _Tables:
    """The tables for one kind of claim."""

    def __init__(self, session: CassandraSession, kind: ClaimKind) -> None:
        self._session = session
        self._kind = kind
        self._were_held = False

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        self._session.run_many(self._cql(_INSERT), map(claim_row, claims))
        self._session.run_by_partition(
            self._cql(_INSERT_POSITION),
            ((*_position_key(claim.position, claim.row), claim.site, claim.order_id) for claim in claims),
            _PARTITION,
        )

    def of(self, site: str, order_ids: Sequence[str]) -> list[OrderClaim]:
        answers = self._session.run_each(
            self._cql(_SELECT), [(site, order_id) for order_id in dict.fromkeys(order_ids)]
        )
        # If a verdict is written after the claim was removed, the row has only the key and the verdict. All other
        # columns are null.
        found = [_claim(row, self._kind) for rows in answers for row in rows if row.log_time is not None]
        return sorted(found, key=lambda claim: (claim.log_time, claim.position, claim.row))

    def first(self, claims: Sequence[OrderClaim]) -> list[bool]:
        by_order: dict[_Order, OrderClaim] = {}
        for claim in claims:
            by_order.setdefault(_order(claim), claim)
        holders = self._holders(by_order) if self._were_held else {}
        free = [claim for order, claim in by_order.items() if order not in holders]
        answers = self._session.decide_each(self._cql(_HOLD), _holding(free))
        for claim, answer in zip(free, answers, strict=True):
            holders[_order(claim)] = (claim.position, claim.row) if answer[0] else _holder(answer)
        self._were_held = 2 * sum(bool(answer[0]) for answer in answers) < len(by_order)
        return [holders[_order(claim)] == (claim.position, claim.row) for claim in claims]

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        keys = [_position_key(position, row) for position, row in verdicts]
        answers = self._session.run_each(self._cql(_SELECT_POSITION), keys)
        self._session.run_many(
            self._cql(_SET_VERDICT),
            [
                (duplicate, site, rows[0].order_id, *position, row)
                for ((position, row), duplicate), rows in zip(verdicts.items(), answers, strict=True)
                if rows and rows[0].site == site
            ],
        )

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims: first the rows by position, then the rows by order id.

        After a failure, the caller still finds the claims by order id and can retry.
        """
        self._session.run_many(
            self._cql(_DELETE_POSITION), [_position_key(claim.position, claim.row) for claim in claims]
        )
        self._session.run_many(
            self._cql(_DELETE),
            [(claim.site, claim.order_id, *claim.position, claim.row) for claim in claims],
        )

    def _holders(self, orders: Iterable[_Order]) -> dict[_Order, _Holder]:
        """Return each order's holder (its first claim); orders without a holder are absent."""
        order_keys = list(orders)
        answers = self._session.run_each(self._cql(_SELECT_HOLDER), order_keys)
        return {order: _holder(rows[0]) for order, rows in zip(order_keys, answers, strict=True) if rows}

    def _cql(self, statement: str) -> str:
        return statement.format(kind=self._kind)


def _order(claim: OrderClaim) -> _Order:
    return claim.site, claim.order_id, claim.excluded


def _holding(claims: Iterable[OrderClaim]) -> list[tuple[object, ...]]:
    return [(*_order(claim), *claim.position, claim.row) for claim in claims]


def _holder(row: Row) -> _Holder:
    return Position(row.log, row.partition, row.offset), row.row_no


def _position_key(position: Position, row: int) -> tuple[object, ...]:
    log, partition, offset = position
    return log, partition, offset >> _SPAN_BITS, offset, row


def _claim(row: Row, kind: ClaimKind) -> OrderClaim:
    *columns, verdict = row
    claim = claim_of(kind, columns)
    return claim if verdict is None else replace(claim, duplicate=verdict)
