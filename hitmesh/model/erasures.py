"""The erasure of a visitor (reprocessing kind ERASE): marks that erase earlier hits, and the receipt.

A mark never holds a visitor id or a visitor key. A mark holds a hash of the visitor key. The hash is keyed with the
mesh secret. The mark also holds the instant from which the visitor's hits are accepted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Final

import numpy as np

from hitmesh.model.keys import hash64, timeline_keys

MAX_KEYS: Final = 16
"""Maximum number of visitor keys in a request for an erasure."""
_DIGEST_BYTES: Final = 16
_PERSON: Final = b"erasure"


@dataclass(frozen=True, slots=True)
class ErasureMark:
    """States that a visitor's hits with an event time before `until` are erased.

    Attributes:
        site: the site's full name.
        digest: the visitor's `timeline_digest`.
        until: hits with this event time (UTC ms) or a later event time are accepted.
        created_at: the time at which the mark was stored, UTC ms.
        reprocessing: the id of the erasing reprocessing.
    """

    site: str
    digest: str
    until: int
    created_at: int
    reprocessing: str


def timeline_digest(mesh_secret: bytes, timeline: int) -> str:
    """Return the hash of a visitor of a site, keyed with the mesh secret, as hexadecimal digits.

    Args:
        mesh_secret: the mesh secret (SiteDirectory.mesh_secret).
        timeline: the visitor's timeline key, whose lowest bit is ignored (hitmesh.model.keys:timeline_keys).

    Example:
        >>> timeline_digest(bytes(32), 6) == timeline_digest(bytes(32), 7)
        True
        >>> timeline_digest(bytes(32), 6) == timeline_digest(bytes(31) + b"s", 6)
        False
    """
    word = (timeline & ~1).to_bytes(8, "little")
    return blake2b(word, digest_size=_DIGEST_BYTES, key=mesh_secret, person=_PERSON).hexdigest()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of an erasure: what was removed from each store, and how long the log still holds the bytes.

    Attributes:
        hits: hits that were blanked in raw records.
        raw_records: raw records that were rewritten.
        log_records: log records that were rewritten; 0 if the log cannot change a record.
        claims: claims on orders and refunds that were removed.
        refusals: refusals whose bytes were removed.
        carries: carries of stored reprocessings from which the visitor's visits were removed.
        site_days: site-days whose numbers were recomputed and published.
        generations: replaced generations that were removed.
        days: the UTC days that had the visitor's hits.
        open_days: the UTC days with erased hits that were still open; the sums of an open day are corrected when the
            day is settled.
        log_until: the time (UTC ms) until which the log may still hold the bytes; 0 if the log no longer holds the
            bytes.
        scanned: the number of values that the last scan read in each store: raw records, snapshots, carries, refusals,
            claimed ids.
        proven_at: the time at which the last scan found no more hits, UTC ms; 0 if every finished scan found hits.
        newest_log_time: the newest log time among rewritten records, UTC ms.
        pending: positions that are being rewritten: [log, partition, offset]. The list is empty when the erasure has
            ended.
        waiting: the reason why the erasure waits; empty if the erasure is not waiting.
    """

    hits: int = 0
    raw_records: int = 0
    log_records: int = 0
    claims: int = 0
    refusals: int = 0
    carries: int = 0
    site_days: int = 0
    generations: int = 0
    days: tuple[int, ...] = ()
    open_days: tuple[int, ...] = ()
    log_until: int = 0
    scanned: Mapping[str, int] = field(default_factory=dict)
    proven_at: int = 0
    newest_log_time: int = 0
    pending: tuple[tuple[str, int, int], ...] = ()
    waiting: str = ""

    def plus(self, **counts: int) -> Receipt:
        """Return the receipt with each count in `counts` added to the attribute of the same name.

        Example:
            >>> Receipt(hits=2).plus(hits=3, claims=1).hits
            5
        """
        return replace(self, **{name: getattr(self, name) + count for name, count in counts.items()})

    def on_days(self, days: Iterable[int], open_days: Iterable[int]) -> Receipt:
        """Return the receipt with the arguments added to the attributes `days` and `open_days`.

        Example:
            >>> Receipt(days=(3,)).on_days([2, 3], [3]).days
            (2, 3)
        """
        return replace(
            self, days=tuple(sorted({*self.days, *days})), open_days=tuple(sorted({*self.open_days, *open_days}))
        )

    def rewriting(self, pending: tuple[tuple[str, int, int], ...], log_time: int) -> Receipt:
        """Return a copy with a new `pending`, and with `newest_log_time` raised to `log_time` if it was lower.

        Example:
            >>> Receipt(newest_log_time=7).rewriting((("hits.1", 0, 3),), 5).newest_log_time
            7
        """
        return replace(self, pending=pending, newest_log_time=max(self.newest_log_time, log_time))

    def seen(self, **counts: int) -> Receipt:
        """Return the receipt in which `counts` replaces the numbers in `scanned`, store by store.

        Example:
            >>> Receipt().seen(carries=4).seen(carries=2, refusals=1).scanned
            {'carries': 2, 'refusals': 1}
        """
        return replace(self, scanned={**self.scanned, **counts})

    def to_text(self) -> str:
        """Return the receipt as JSON.

        Example:
            >>> Receipt(hits=2).to_text()[:10]
            '{"hits": 2'
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Receipt:
        """Return the receipt from its JSON text; if the text is empty, return an empty receipt.

        Example:
            >>> receipt = Receipt(hits=1, open_days=(20_000,), pending=(("hits.1", 0, 7),))
            >>> Receipt.from_text(receipt.to_text()) == receipt, Receipt.from_text("") == Receipt()
            (True, True)
        """
        if not text:
            return cls()
        fields = json.loads(text)
        return cls(
            **{
                **fields,
                "days": tuple(fields["days"]),
                "open_days": tuple(fields["open_days"]),
                "pending": tuple((log, partition, offset) for log, partition, offset in fields["pending"]),
            }
        )


def visitor_digest(mesh_secret: bytes, site: str, key: tuple[int, int]) -> str:
    """Return the digest that identifies a visitor in erasure marks.

    Args:
        mesh_secret: the mesh secret (SiteDirectory.mesh_secret).
        site: the site's full name.
        key: the visitor key, high and low 64 bits (hitmesh.model.keys:visitor_key).

    Example:
        >>> len(visitor_digest(bytes(32), "merchants/demo/sites/shop", (1, 2)))
        32
    """
    high, low = (np.array([part], np.uint64) for part in key)
    site_hash = np.array([hash64(site)], np.uint64)
    return timeline_digest(mesh_secret, int(timeline_keys(site_hash, high, low, np.zeros(1, np.bool_))[0]))
