"""The erasure of a visitor (kind ERASE): keys, site-days to search, and messages for the receipt and a dry run.

Limits: an erasure has a single site, at most 16 identifiers, and at most 20,000 settled site-days. An identifier has 1
to 128 bytes. The identifiers are hashed at once and never stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from control.rpc.reprocessing.scope import Scope, existing_site
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.closing import first_open_day
from hitmesh.model.days import day_message
from hitmesh.model.erasures import MAX_KEYS, Receipt, visitor_digest
from hitmesh.model.errors import RefusedError
from hitmesh.model.keys import visitor_key
from hitmesh.model.limits import MAX_VISITOR_ID_BYTES
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.sites import Site
from hitmesh.ports import Generations, SiteDirectory
from hitmesh.runtime.rpc_values import timestamp

if TYPE_CHECKING:
    from control.history.visitor_search import VisitorSearch

MAX_OPEN_DATES: Final = 100
MAX_FOUND_DATES: Final = 100
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_VISITOR: Final = "reprocessing.visitor"


def erased_site(wanted: pb.Reprocessing, directory: SiteDirectory) -> Site:
    """Return the site whose visitor is erased. The site may be deleted, because its data is kept.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the request names no site or several sites, or sets a date or a logic version.
    """
    if len(wanted.sites) != 1:
        raise RefusedError(
            f"{len(wanted.sites):,} sites are named, but an erasure has exactly one site: create an erasure per site",
            field="reprocessing.sites",
            count=len(wanted.sites),
            limit=1,
        )
    for field in ("first_utc_date", "last_utc_date", "logic"):
        if wanted.HasField(field):
            raise RefusedError(
                f"{field} is set, but an erasure covers all days and keeps the logic of each day: leave {field} out",
                field=f"reprocessing.{field}",
            )
    name = wanted.sites[0]
    if not SITE_PATTERN.fullmatch(name):
        raise RefusedError(
            f"{name[:160]!r} is not a site name: an erasure has exactly one site, so write "
            "merchants/{merchant}/sites/{site}",
            field="reprocessing.sites[0]",
            value=name[:160],
        )
    return existing_site(directory, name, "reprocessing.sites[0]", or_deleted=True)


def visitor_keys(visitor: pb.ErasedVisitor, site: Site) -> tuple[tuple[int, int], ...]:
    """Return a visitor's keys, high and low 64 bits each.

    This function computes the keys in the same way as the collector (rule I1).

    Raises:
        RefusedError: the number of identifiers is 0 or too large, an identifier is invalid, or the request has user ids
            although the site does not identify visitors by user id.
    """
    count = len(visitor.visitor_ids) + len(visitor.user_ids) + len(visitor.visitor_keys)
    if not 1 <= count <= MAX_KEYS:
        raise RefusedError(
            f"{count:,} identifiers are given; the limit is 1 to {MAX_KEYS}: send visitor_ids, user_ids or "
            "visitor_keys",
            field=_VISITOR,
            count=count,
            limit=MAX_KEYS,
        )
    if visitor.user_ids and not site.may_have_user_ids:
        raise RefusedError(
            f"user_ids are given, but {site.name} does not identify visitors by user id (identify_by_user_id is not "
            "set): send the visitor's visitor_ids or visitor_keys",
            field=f"{_VISITOR}.user_ids",
            value=site.name,
        )
    return (*_keys_of_ids(visitor, site), *map(_key_of, visitor.visitor_keys))


def visitor_digests(keys: Iterable[tuple[int, int]], site: Site, mesh_secret: bytes) -> tuple[str, ...]:
    """Return the digests of a visitor's keys, which a plan stores instead of the keys."""
    return tuple(sorted({visitor_digest(mesh_secret, site.name, key) for key in keys}))


def search_message(search: VisitorSearch) -> pb.VisitorSearch:
    """Return the result of a search as a message."""
    return pb.VisitorSearch(
        hits=search.hits,
        site_days=len(search.found_days),
        utc_dates=map(day_message, search.found_days[:MAX_FOUND_DATES]),
        searched_days=search.searched_days,
        days=search.days,
    )


def erasure_scope(
    site: str, generations: Generations, progress: Mapping[PartitionId, PartitionProgress], max_site_days: int
) -> tuple[Scope, int, int]:
    """Return a site's settled site-days, the first of these days, and the day after the last closed day.

    Raises:
        RefusedError: the site has too many settled days.
    """
    open_day = first_open_day(min((reached.log_time for reached in progress.values()), default=0))
    end = max(open_day, 1)
    entries = generations.ledger(site, 0, end)
    if len(entries) > max_site_days:
        raise RefusedError(
            f"the site has more than {max_site_days:,} settled days, the limit for an erasure: remove older days first",
            field="reprocessing.sites",
            reason=ErrorReason.TOO_MANY_SITE_DAYS,
            count=len(entries),
            limit=max_site_days,
        )
    hits = sum(entry.accepted for entry in entries.values())
    return Scope((site,), len(entries), hits), min(entries, default=end - 1), end


def receipt_message(reprocessing: Reprocessing) -> pb.ErasureReceipt | None:
    """Return an erasure's receipt as a message, or None before the first removal."""
    if not reprocessing.receipt:
        return None
    receipt = Receipt.from_text(reprocessing.receipt)
    return pb.ErasureReceipt(
        until_time=timestamp(reprocessing.created_at),
        hits=receipt.hits,
        raw_records=receipt.raw_records,
        log_records=receipt.log_records,
        claims=receipt.claims,
        refusals=receipt.refusals,
        carries=receipt.carries,
        site_days=receipt.site_days,
        generations=receipt.generations,
        open_utc_dates=map(day_message, receipt.open_days[:MAX_OPEN_DATES]),
        log_until_time=timestamp(receipt.log_until) if receipt.log_until else None,
        proven_time=timestamp(receipt.proven_at) if receipt.proven_at else None,
        scanned=receipt.scanned,
        waiting=receipt.waiting,
    )


def _keys_of_ids(visitor: pb.ErasedVisitor, site: Site) -> Iterator[tuple[int, int]]:
    for kind, field, ids in (("visitor", "visitor_ids", visitor.visitor_ids), ("user", "user_ids", visitor.user_ids)):
        for number, id_ in enumerate(ids):
            size = len(id_.encode())
            if not 1 <= size <= MAX_VISITOR_ID_BYTES:
                raise RefusedError(
                    f"{field} has an id of {size:,} bytes; the limit is 1 to {MAX_VISITOR_ID_BYTES}: send the id "
                    "that the hits have",
                    field=f"{_VISITOR}.{field}[{number}]",
                    count=size,
                    limit=MAX_VISITOR_ID_BYTES,
                )
            yield visitor_key(site.secret, kind, id_)


def _key_of(text: str) -> tuple[int, int]:
    if not _KEY.fullmatch(text):
        raise RefusedError(
            f"a visitor key of {len(text):,} characters is invalid: send 32 hexadecimal digits, as TraceHit returns "
            "them",
            field=f"{_VISITOR}.visitor_keys",
            count=len(text),
        )
    return int(text[:16], 16), int(text[16:], 16)
