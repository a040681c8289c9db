"""Refused hits that can be replayed: their origin, their names, their order, and the obstacles to a replay.

Without reading the hit's content, this module decides whether a refused hit can be replayed. The module
hitmesh.client.mending reads the hit's content.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from hitmesh.internal.log.v1 import origin_pb2
from hitmesh.model.errors import RefusedError, StoreCorrupt
from hitmesh.model.limits import CELL_MS
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.positions import Position
from hitmesh.model.reasons import HitReason
from hitmesh.model.records import Origin, RejectedHit

MAX_KEPT_BYTES: Final = 4 << 10
"""Maximum number of bytes that are kept of a refused hit or batch."""
JSON_MARK: Final = b"\x07"
"""The first byte of kept JSON: a tag with field number 0 and wire type 7; protobuf allows neither."""
WHOLE_BATCH: Final = -1
REPLAY_PREFIX: Final = "replay-"
"""The first characters of every batch id that a replay sends."""
PREFIX: Final = "rejectedHits/"
MAX_NAME_CHARS: Final = 512
_PARTS: Final = 7
_INT64: Final = 1 << 63


class RefusalKey(NamedTuple):
    """A refusal's place in a list.

    Refusals are sorted by cell of collect time, then by site, then by collect time. The newest cells and the newest
    collect times come first.

    The refusals of a single site are therefore listed by collect time, then by position, both descending.
    """

    site: str
    collect_time: int
    position: Position
    row: int

    @property
    def cell(self) -> int:
        """Start of the collect time's cell, UTC ms.

        Example:
            >>> RefusalKey("b", 900_001, Position("rejected.1", 0, 1), 0).cell
            900000
        """
        return self.collect_time // CELL_MS * CELL_MS


class RefusalRange(NamedTuple):
    """A selection of refusals to list.

    Attributes:
        site: a site's full name, "" for refusals without a site, None for all.
        since: first collect time, UTC ms.
        until: end of the collect times, exclusive, UTC ms.
    """

    site: str | None
    since: int
    until: int


class RefusalPage(NamedTuple):
    """Refusals in list order, and the key after which the next page begins. On the last page, the key is None.

    A store may end a page early, even without a refusal, to limit the time of a call.
    """

    hits: list[RejectedHit]
    after: RefusalKey | None


def key_of(hit: RejectedHit) -> RefusalKey:
    """Return the key of a refusal.

    Example:
        >>> hit = RejectedHit(Position("rejected.1", 0, 1), 2, "b", 5, "DECODE", "", "", "", 1, b"")
        >>> key_of(hit)
        RefusalKey(site='b', collect_time=5, position=Position(log='rejected.1', partition=0, offset=1), row=2)
    """
    return RefusalKey(hit.site, hit.collect_time, hit.position, hit.row)


def list_order(key: RefusalKey) -> tuple[object, ...]:
    """Return the first part of the sort key for a list of refusals: the cell (newest first), then the site.

    To sort a list, sort by `newest_first` in descending order, and then, with a stable sort, by `list_order`.

    Example:
        >>> early, late = (RefusalKey("b", at, Position("rejected.1", 0, 1), 0) for at in (5, 900_000))
        >>> list_order(late) < list_order(early)
        True
    """
    return (-key.cell, key.site)


def newest_first(key: RefusalKey) -> tuple[object, ...]:
    """Return the second part of the sort key, by which refusals with the same cell and site are sorted, descending.

    Example:
        >>> early, late = (RefusalKey("b", at, Position("rejected.1", 0, 1), 0) for at in (5, 6))
        >>> newest_first(early) < newest_first(late)
        True
    """
    return (key.collect_time, key.position, key.row)


def is_after(key: RefusalKey, other: RefusalKey) -> bool:
    """Return whether a key comes after another key in list order.

    Example:
        >>> early, late = (RefusalKey("b", at, Position("rejected.1", 0, 1), 0) for at in (5, 6))
        >>> is_after(early, late), is_after(late, early)
        (True, False)
    """
    mine, theirs = list_order(key), list_order(other)
    return mine > theirs or (mine == theirs and newest_first(key) < newest_first(other))


def name_of(key: RefusalKey) -> str:
    """Return the resource name of a refused hit.

    Example:
        >>> name_of(RefusalKey("merchants/demo/sites/shop", 1_700_000_000_000, Position("rejected.1", 0, 7), 2))
        'rejectedHits/demo_shop_1700000000000_0_7_2_rejected.1'
        >>> name_of(RefusalKey("", 5, Position("rejected.1", 0, 7), 2))
        'rejectedHits/__5_0_7_2_rejected.1'
    """
    found = SITE_PATTERN.fullmatch(key.site)
    merchant, site = found.groups() if found else ("", "")
    log, partition, offset = key.position
    return f"{PREFIX}{merchant}_{site}_{key.collect_time}_{partition}_{offset}_{key.row}_{log}"


def key_in(name: str) -> RefusalKey:
    """Return the key of a refused hit from the hit's resource name.

    Raises:
        RefusedError: the text is not a name of a refused hit.

    Example:
        >>> key = RefusalKey("merchants/demo/sites/shop", 1_700_000_000_000, Position("rejected.1", 0, 7), 2)
        >>> key_in(name_of(key)) == key
        True
    """
    parts = name.removeprefix(PREFIX).split("_", _PARTS - 1)
    is_name = name.startswith(PREFIX) and len(name) <= MAX_NAME_CHARS and len(parts) == _PARTS
    if not is_name or not all(map(_is_number, parts[2:6])):
        raise _not_a_name(name)
    merchant, site, *numbers, log = parts
    full = f"merchants/{merchant}/sites/{site}" if merchant or site else ""
    if full and not SITE_PATTERN.fullmatch(full):
        raise _not_a_name(name)
    collected, partition, offset, row = map(int, numbers)
    return RefusalKey(full, collected, Position(log, partition, offset), row)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _INT64


def _not_a_name(name: str) -> RefusedError:
    return RefusedError(
        f"{name[:160]!r} is not the name of a rejected hit: use an id from `hitmesh rejected list` (ListRejectedHits)",
        field="name",
        value=name,
    )


def origin_bytes(origin: Origin | None) -> bytes:
    """Return the serialized origin of a refused hit, or b"" for None.

    Example:
        >>> origin_bytes(None), origin_bytes(Origin("b1", 0, "", 0, False, False, b"", 0, 0, False))[2:4]
        (b'', b'b1')
    """
    if origin is None:
        return b""
    return origin_pb2.RefusalOrigin(
        batch_id=origin.batch_id,
        batch_index=origin.batch_index,
        key_id=origin.key_id,
        size=origin.size,
        complete=origin.is_complete,
        json=origin.is_json,
        default_context=origin.default_context,
        receive_time_ms=origin.received_at,
        send_time_ms=origin.sent_at,
        sets_times=origin.sets_times,
    ).SerializeToString()


def origin_of(value: bytes | None) -> Origin | None:
    """Return the origin of a refused hit from its serialized form, or None if `value` is empty.

    Raises:
        StoreCorrupt: the bytes are damaged.

    Example:
        >>> origin = Origin("b1", 3, "k1", 120, True, False, b"", 1_700_000_000_000, 0, True)
        >>> origin_of(origin_bytes(origin)) == origin, origin_of(b"")
        (True, None)
    """
    if not value:
        return None
    try:
        found = origin_pb2.RefusalOrigin.FromString(bytes(value))
    except DecodeError as error:
        raise StoreCorrupt(
            "the stored origin (topic, partition, offset) of a refused hit is damaged: restore the store from a backup"
        ) from error
    return Origin(
        found.batch_id,
        found.batch_index,
        found.key_id,
        found.size,
        found.complete,
        found.json,
        found.default_context,
        found.receive_time_ms,
        found.send_time_ms,
        found.sets_times,
    )


def obstacle_to_replay(hit: RejectedHit) -> str:
    """Return the reason why a refused hit cannot be replayed; empty if the hit can be replayed.

    Example:
        >>> hit = RejectedHit(Position("rejected.1", 0, 1), 0, "", 5, "DECODE", "", "broken", "", 7, b"")
        >>> obstacle_to_replay(hit)
        'the bytes of the refused hits are not stored: send the hits again from their source'
    """
    if hit.reason == HitReason.ID_COLLISION:
        return "the hit was accepted and counts as a duplicate: send the hit with a new hit_id"
    if not hit.original:
        return "the bytes of the refused hits are not stored: send the hits again from their source"
    if hit.origin is None:
        return "the batch id and other data for a replay were not stored: send the hits again from their source"
    if hit.origin.batch_id.startswith(REPLAY_PREFIX):
        return "this refused hit is itself a replay: mend and replay the original refused hit"
    if not hit.origin.is_complete:
        return (
            f"only the first {len(hit.original):,} of {hit.origin.size:,} bytes are stored: send the hits again from "
            "their source"
        )
    return ""
