"""The folding of texts in the stream (rule S10), hit by hit.

The limit applies per site, partition and hour of log time. No text is folded while the arrived hits are too few to
exceed the limit. When further hits arrive, the stream keeps their first distinct texts in log order, up to the limit.
All other texts are folded: reports show `(other)` instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tests.reference.hits import RefHit, RefItem
from tests.reference.settled import Entry

HOUR_MS = 3_600_000
TEXTS_OF_A_HIT = 12
TEXTS_OF_AN_ITEM = 3
MARK = "\0"
"""Prefix that marks a text as folded.

The original text follows the prefix. Two campaigns with different folded names therefore stay different.
"""
_FIRST = ("hostname", "page_path")
_LAST = ("source", "medium", "referrer_host", "event_name", "product", "category", "brand")


def folded(hits: Iterable[RefHit], limit: int) -> list[RefHit]:
    """Return the hits in log order, with a MARK before each text beyond the limit.

    `hits` must not include hits that arrived after their day had closed.
    """
    weights: dict[object, int] = defaultdict(int)
    kept_texts: dict[object, set[str]] = defaultdict(set)
    found = []
    for hit in sorted(hits, key=lambda hit: hit.position):
        log_time, log, partition, *_ = hit.position
        of = (log, partition, hit.site, log_time // HOUR_MS)
        weights[of] += TEXTS_OF_A_HIT + TEXTS_OF_AN_ITEM * len(hit.items)
        found.append(_with_marks(hit, kept_texts[of], limit) if weights[of] > limit else hit)
    return found


def _with_marks(hit: RefHit, kept_texts: set[str], limit: int) -> RefHit:
    def kept(text: str | None) -> str | None:
        if not text:
            return text
        if text not in kept_texts and len(kept_texts) < limit:
            kept_texts.add(text)
        return text if text in kept_texts else MARK + text

    first = {name: kept(getattr(hit, name)) for name in _FIRST}
    source, medium, name, click_id = hit.campaign
    campaign = (source, medium, kept(name) or "", click_id)
    last = {name: kept(getattr(hit, name)) for name in _LAST}
    items = tuple(
        RefItem(kept(item.sku) or "", kept(item.category), kept(item.brand), item.unit_price_micros, item.quantity)
        for item in hit.items
    )
    return replace(hit, campaign=campaign, items=items, **first, **last)  # type: ignore[arg-type]  # texts


def shown(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries with `(other)` in place of each marked text."""
    return [
        replace(entry, dimensions={name: _name(text) for name, text in entry.dimensions.items()}) for entry in entries
    ]


def _name(text: str | None) -> str | None:
    return "(other)" if text and text.startswith(MARK) else text
