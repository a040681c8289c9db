"""Removes erased visitors' hits if a window stored the hits after the visitors were erased (kind ERASE).

An erasure's proof reads the raw records a minute after the marks are stored. A stream that is suspended for more than a
minute can write hits after the proof. Each stream therefore reads the erasure marks again after its writes.
"""

from __future__ import annotations

from hitmesh.model.records import RejectedHit
from processor.erase.records import find_hits
from processor.erase.visitors import ErasedVisitors
from processor.stream.intake import Intake
from processor.stream.stores import StreamStores


def take_back(stores: StreamStores, stored: Intake, visitors: ErasedVisitors) -> bool:
    """Erase the visitors' hits from a window's raw records, claims and id collisions.

    Return whether any hits were erased. Raw records are changed last, so that a repetition after a crash finds the hits
    again.
    """
    if not visitors:
        return False
    found = [hits for record in stored.raw if (hits := find_hits(record, visitors)) is not None]
    places = {(hits.record.position, row) for hits in found for row in hits.rows}
    stores.claims.remove([claim for claim in stored.claims if (claim.position, claim.row) in places])

    def is_of_hit(refusal: RejectedHit) -> bool:
        return (refusal.position, refusal.row) in places

    for site in visitors.sites if found else ():
        for _ in stores.rejected.erase_texts(site, is_of_hit):
            pass
    for hits in found:
        stores.raw.replace(hits.blanked)
    return bool(found)
