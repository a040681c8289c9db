"""Decodes all payloads except page views. Each type that occurs is decoded separately (architecture A2).

Decides which payload a hit type must have. Runs each type's checks on the hits of that type. The modules `events` and
`orders` contain the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from collector.admission.columns import Columns
from collector.admission.texts import Texts, limited
from collector.admission.verdicts import Verdicts
from collector.wire import MessageReader, Undecodable
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.arrays import BoolArray, I32Array, I64Array
from hitmesh.model.hit_types import HitType
from hitmesh.model.reasons import HitReason

# The field of Hit that contains the payload of each hit type. In HitView, page views are messages and all other
# payloads are bytes.
PAYLOAD_FIELDS: Final = {
    HitType.PAGE_VIEW: "page_view",
    HitType.SCREEN_VIEW: "screen_view",
    HitType.EVENT: "event",
    HitType.ENGAGEMENT: "engagement",
    HitType.PERFORMANCE: "performance",
    HitType.CART_UPDATE: "cart",
    HitType.CHECKOUT_STEP: "checkout",
    HitType.ORDER: "order",
    HitType.REFUND: "refund",
    HitType.SITE_SEARCH: "search",
    HitType.EXCEPTION: "exception",
    HitType.IDENTIFY: "identify",
    HitType.PRODUCT_VIEW: "product_view",
}
_TYPE_NUMBERS: Final = np.array(sorted(PAYLOAD_FIELDS), dtype=np.int32)


@cache
def _reader(field: str) -> MessageReader:
    message = hit_pb2.Hit.DESCRIPTOR.fields_by_name[field].message_type
    assert message is not None, f"payload {field} is a message"
    return MessageReader(message)


@dataclass(frozen=True, slots=True)
class Part:
    """All hits of one type, with their decoded payload as columns.

    Attributes:
        field: name of the payload field in Hit.
        rows: row numbers of these hits.
        payload: one row per hit, one column per field.
        verdicts: the verdicts on these hits; position i stands for the hit in row rows[i].
        columns: output columns of the micro-batch.
        currency: default currency of each hit's site.
    """

    field: str
    rows: I64Array
    payload: pa.RecordBatch
    verdicts: Verdicts
    columns: Columns
    currency: Texts

    def numbers(self, name: str) -> I64Array:
        """Return an integer field of all hits. An `optional` field that was not sent becomes 0."""
        column = self.payload.column(name)
        values: I64Array = (column.fill_null(0) if column.null_count else column).to_numpy().astype(np.int64)
        return values

    def text(self, name: str, max_bytes: int) -> Texts | None:
        """Return a string field of all hits, checked and cut by `limited`, or None if no hit sets the field."""
        return text_of(self.payload.column(name), f"{self.field}.{name}", max_bytes, self.verdicts)

    def keep_text(self, name: str, texts: Texts | None) -> None:
        """Store one string for each hit in an output column."""
        self.columns.set_text(name, texts, self.rows)

    def keep_numbers(self, name: str, values: I64Array) -> None:
        """Store one number for each hit in an output column."""
        self.columns.set_numbers_at(name, values, self.rows)

    def need(self, name: str, present: BoolArray, cure: str) -> None:
        """Refuse hits in which a required field is not set."""
        field = f"{self.field}.{name}"
        self.verdicts.refuse(~present, HitReason.MISSING_FIELD, field, f"{field} is not set: {cure}")

    def within(self, name: str, values: I64Array, minimum: int, most: int) -> None:
        """Refuse hits whose number lies outside the closed range [minimum, most]."""
        field = f"{self.field}.{name}"
        self.verdicts.refuse(
            (values < minimum) | (values > most),
            HitReason.INVALID_FIELD,
            field,
            lambda at: f"{field} is {values[at]:,}; it must be from {minimum:,} to {most:,}",
        )


Check = Callable[[Part], None]


def text_of(column: pa.StringArray, field: str, max_bytes: int, verdicts: Verdicts) -> Texts | None:
    """Return a string column, checked and cut by `limited`, or None if all values are empty."""
    texts = Texts.of(column)
    return None if texts is None else limited(texts, field, max_bytes, verdicts)


def check_types(hits: pa.StructArray, types: I32Array, verdicts: Verdicts) -> None:
    """Refuse hits with an unknown type, with several payloads, or without the payload that their type requires."""
    found = np.zeros(len(types), dtype=np.int32)
    payloads = np.zeros(len(types), dtype=np.int32)
    for number, field in PAYLOAD_FIELDS.items():
        column = hits.field(field)
        if column.null_count == len(column):
            continue
        present = np.asarray(column.is_valid())
        found[present] = number
        payloads += present
    verdicts.refuse(
        payloads > 1,
        HitReason.DECODE,
        "payload",
        lambda row: f"the hit has {payloads[row]} payloads: send one hit for each",
    )
    verdicts.refuse(
        ~np.isin(types, _TYPE_NUMBERS),
        HitReason.UNSUPPORTED_TYPE,
        "type",
        lambda row: (
            f"type {f'{types[row]} is not known' if types[row] else 'is not set'}: use a value of HitType from 1 to "
            f"{_TYPE_NUMBERS[-1]}"
        ),
    )
    for number, field in PAYLOAD_FIELDS.items():
        lacking = (types == number) & (found != number)
        verdicts.refuse(
            lacking,
            HitReason.MISSING_FIELD,
            field,
            f"a hit of type {number.name} has no payload {field}: send this payload, or the type of the sent payload",
        )


def read_payloads(
    hits: pa.StructArray,
    types: I32Array,
    checks: Sequence[tuple[HitType, Check]],
    currency: Texts,
    columns: Columns,
    verdicts: Verdicts,
) -> None:
    """Decode and check the payloads type by type, and store the payload bytes as sent."""
    kept: list[pa.BinaryArray] = []
    for number, check in checks:
        rows = np.flatnonzero((types == number) & ~verdicts.refused)
        if not len(rows):
            continue
        field = PAYLOAD_FIELDS[number]
        kept.append(hits.field(field))
        sent = hits.field(field).take(pa.array(rows))
        among = verdicts.among(rows)
        check(Part(field, rows, _decoded(sent, field, among), among, columns, currency.rows(rows)))
    if kept:
        series = [pl.Series(str(number), each, dtype=pl.Binary()) for number, each in enumerate(kept)]
        merged = series[0] if len(series) == 1 else pl.DataFrame(series).select(pl.coalesce(pl.all())).to_series()
        columns.set_series("payload", merged)


def _decoded(sent: pa.BinaryArray, field: str, verdicts: Verdicts) -> pa.RecordBatch:
    """Return the payload columns. Refuse hits whose payload does not decode, and read the damaged payload as empty."""
    reader = _reader(field)
    try:
        return reader.read(sent, sound=True)  # `is_sound` has already checked the whole batch
    except Undecodable:
        messages = sent.to_pylist()
        broken = np.zeros(len(messages), dtype=np.bool_)
        broken[reader.undecodable(messages)] = True
        verdicts.refuse(
            broken,
            HitReason.DECODE,
            field,
            f"the payload {field} does not decode: its strings must be UTF-8, and its bytes a valid message",
        )
        return reader.read([b"" if bad else message for bad, message in zip(broken, messages, strict=True)])
