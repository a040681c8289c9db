"""Removes a visitor from reprocessings' carries and from refused hits (kind ERASE). The removal is done in steps.

An erasure portion can end only after a step, so the steps are small. Each step returns the counts that are added
to the erasure's receipt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from hitmesh.model.names import OPERATORS, SITE_PATTERN
from hitmesh.model.positions import Topic
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.sites import Site
from hitmesh.ports import Reprocessings
from processor.erase.carries import cleaned, rebuilt_of_site
from processor.erase.refusals import Refusals
from processor.erase.visitors import ErasedVisitors
from processor.settle.stores import SettlerStores


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step.

    Attributes:
        removed: how many items this step removed, keyed by receipt field.
        scanned: how many values this step and all earlier steps have read, keyed by store.
    """

    removed: Mapping[str, int]
    scanned: Mapping[str, int] = field(default_factory=dict)


def clean_carries(reprocessings: Reprocessings, id_: str, site: str, visitors: ErasedVisitors) -> Iterator[Step]:
    """Remove the visitor's visits from the carries in all the site's reprocessings, a site-day at a time.

    Args:
        reprocessings: the stored reprocessings.
        id_: the erasure's id. The erasure has stored each reported number's change. The stored changes are
            removed too, because the changes show how much the visitor added to each number.
        site: the site.
        visitors: the visitor.
    """
    for of, rebuilt in rebuilt_of_site(reprocessings, site):
        without = cleaned(rebuilt, visitors)
        if of == id_:
            without = replace(without, changes={}, flags={}, reasons=None)
        if without != rebuilt:
            reprocessings.put(of, [without])
        yield Step({"carries": int(without != rebuilt)})


def clean_refusals(stores: SettlerStores, erasure: Reprocessing) -> Iterator[Step]:
    """Remove texts from the visitor's refused hits, a page at a time."""
    site = stores.directory.site_or_deleted(erasure.sites[0])
    if site is None:
        return
    secret, until = stores.directory.mesh_secret(), erasure.created_at
    refusals = Refusals(site, secret, erasure.visitors, _key_ids(stores, site), until, stores.raw, stores.log_eraser)
    in_log = 0
    for name in (site.name, ""):
        for emptied in stores.rejected.erase_texts(name, refusals.must_go):
            fresh, in_log = refusals.in_log - in_log, refusals.in_log
            yield Step({"refusals": emptied, "log_records": fresh}, {"refusals": refusals.seen})
    yield Step({}, {"refusals": refusals.seen})  # this step reports a count even if the store has no refusals


def unread_refusals(stores: SettlerStores, until: int) -> int:
    """Return how many partitions have refusals that were logged before `until` and are not stored yet."""
    return sum(
        reached.next_offset < stores.log_scan.offset_at(partition, until)
        for partition, reached in stores.progress.progress(Topic.REJECTED).items()
    )


def _key_ids(stores: SettlerStores, site: Site) -> set[str]:
    """Return the ids of all ingest keys that belong to the site's merchant or to operators."""
    found = SITE_PATTERN.fullmatch(site.name)
    merchants = (f"merchants/{found[1]}", OPERATORS) if found else (OPERATORS,)
    return {key.key_id for merchant in merchants for key in stores.directory.keys(merchant)}
