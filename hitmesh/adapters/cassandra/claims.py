"""Step S of the journey on Cassandra: who claimed an order, and who holds it in the stream (rule D3).

Decides that holding is a conditional write. Decides nothing about which claim wins in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from hitmesh.adapters.cassandra.bits import to_signed, to_unsigned
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.ports import OrderClaim, Position

_SPAN_BITS: Final = 10
_PARTITION: Final = 3  # log, partition, span
_Order: TypeAlias = tuple[str, str, bool]
_Holder: TypeAlias = tuple[Position, int]
_INSERT: Final = """INSERT INTO order_claims (site, order_id, log, partition, offset, row_no, log_time, visitor_hi,
    visitor_lo, hit_id, day, excluded, duplicate) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_POSITION: Final = """INSERT INTO order_positions (log, partition, span, offset, row_no, site, order_id)
    VALUES (?, ?, ?, ?, ?, ?, ?)"""
_SELECT: Final = """SELECT site, order_id, log, partition, offset, row_no, log_time, visitor_hi, visitor_lo, hit_id,
    day, excluded, duplicate, verdict FROM order_claims WHERE site = ? AND order_id = ?"""
_SELECT_POSITION: Final = """SELECT site, order_id FROM order_positions
    WHERE log = ? AND partition = ? AND span = ? AND offset = ? AND row_no = ?"""
_SELECT_HOLDER: Final = """SELECT log, partition, offset, row_no FROM order_holders
    WHERE site = ? AND order_id = ? AND excluded = ?"""
_HOLD: Final = """INSERT INTO order_holders (site, order_id, excluded, log, partition, offset, row_no)
    VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"""
_SET_VERDICT: Final = """UPDATE order_claims SET verdict = ?
    WHERE site = ? AND order_id = ? AND log = ? AND partition = ? AND offset = ? AND row_no = ?"""


class CassandraOrderClaims:
    """An OrderClaims: claims by order, the order of each position, and the holders."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._were_held = False

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims durably. A verdict has a column of its own, so claiming again keeps it."""
        self._session.run_many(_INSERT, map(_row, claims))
        self._session.run_by_partition(
            _INSERT_POSITION,
            ((*_position_key(claim.position, claim.row), claim.site, claim.order_id) for claim in claims),
            _PARTITION,
        )

    def of(self, site: str, order_ids: Sequence[str]) -> Sequence[OrderClaim]:
        """Returns all claims on these orders in log order (log time, log, partition, offset, row)."""
        answers = self._session.run_each(_SELECT, [(site, order_id) for order_id in dict.fromkeys(order_ids)])
        # A verdict may outlive its claim, whose columns are then gone.
        found = [_claim(row) for rows in answers for row in rows if row.log_time is not None]
        return sorted(found, key=lambda claim: (claim.log_time, claim.position, claim.row))

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Returns which claims hold their order in the stream, taking orders that nobody holds.

        An order that was taken stays so. Hardly any is held when it is asked for, so nothing is read before: the
        condition says who holds it. Only where most were held the last time, when the log is read again, is it read
        first, which costs less than a condition that does not hold. After Unavailable some orders may be held by claims
        of this call; who asks again finds them.
        """
        asked: dict[_Order, OrderClaim] = {}
        for claim in claims:
            asked.setdefault(_order(claim), claim)
        holders = self._holders(asked) if self._were_held else {}
        free = [claim for order, claim in asked.items() if order not in holders]
        answers = self._session.decide_each(_HOLD, _holding(free))
        for claim, answer in zip(free, answers, strict=True):
            holders[_order(claim)] = (claim.position, claim.row) if answer[0] else _holder(answer)
        if asked:
            self._were_held = 2 * sum(bool(answer[0]) for answer in answers) < len(asked)
        return [holders[_order(claim)] == (claim.position, claim.row) for claim in claims]

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits; positions that claim nothing of the site stay out."""
        keys = [_position_key(position, row) for position, row in verdicts]
        answers = self._session.run_each(_SELECT_POSITION, keys)
        self._session.run_many(
            _SET_VERDICT,
            [
                (duplicate, site, rows[0].order_id, *position, row)
                for ((position, row), duplicate), rows in zip(verdicts.items(), answers, strict=True)
                if rows and rows[0].site == site
            ],
        )

    def _holders(self, orders: Iterable[_Order]) -> dict[_Order, _Holder]:
        """Returns who holds each order that is held."""
        asked = list(orders)
        answers = self._session.run_each(_SELECT_HOLDER, asked)
        return {order: _holder(rows[0]) for order, rows in zip(asked, answers, strict=True) if rows}


def _order(claim: OrderClaim) -> _Order:
    return claim.site, claim.order_id, claim.excluded


def _holding(claims: Iterable[OrderClaim]) -> list[tuple[object, ...]]:
    return [(*_order(claim), *claim.position, claim.row) for claim in claims]


def _holder(row: Row) -> _Holder:
    return Position(row.log, row.partition, row.offset), row.row_no


def _position_key(position: Position, row: int) -> tuple[object, ...]:
    log, partition, offset = position
    return log, partition, offset >> _SPAN_BITS, offset, row


def _row(claim: OrderClaim) -> tuple[object, ...]:
    return (
        claim.site,
        claim.order_id,
        *claim.position,
        claim.row,
        claim.log_time,
        to_signed(claim.visitor_hi),
        to_signed(claim.visitor_lo),
        claim.hit_id,
        claim.day,
        claim.excluded,
        claim.duplicate,
    )


def _claim(row: Row) -> OrderClaim:
    return OrderClaim(
        site=row.site,
        order_id=row.order_id,
        log_time=row.log_time,
        position=Position(row.log, row.partition, row.offset),
        row=row.row_no,
        visitor_hi=to_unsigned(row.visitor_hi),
        visitor_lo=to_unsigned(row.visitor_lo),
        hit_id=row.hit_id,
        day=row.day,
        excluded=row.excluded,
        duplicate=row.duplicate if row.verdict is None else row.verdict,
    )
