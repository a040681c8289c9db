"""Reads the hits of a micro-batch into the columns that are stored.

Decides which column stores each field, and the order of the checks that may refuse a hit. The rules are in the modules
that this module calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from collector.admission.batches import Batches, Grant
from collector.admission.campaigns import COLUMNS as CAMPAIGN_COLUMNS
from collector.admission.campaigns import STORED_FIELDS as CAMPAIGN_FIELDS
from collector.admission.campaigns import Campaigns, campaigns_of_queries
from collector.admission.classes import Judge, classify_agents, classify_arrivals
from collector.admission.columns import Columns
from collector.admission.content import ContentHash, id_hashes, with_ids
from collector.admission.contexts import Context, context_of
from collector.admission.events import (
    check_checkout,
    check_engagement,
    check_event,
    check_exception,
    check_identify,
    check_performance,
    check_screen,
    check_search,
)
from collector.admission.frames import Decoded, HitFault
from collector.admission.identity import MAX_ID_BYTES, Identities, SaltOf, VisitorKeys, visitor_keys
from collector.admission.networks import stored_networks
from collector.admission.orders import check_cart, check_order, check_product_view, check_refund
from collector.admission.pages import Pages, read_pages
from collector.admission.payloads import check_types, read_payloads
from collector.admission.properties import read_properties
from collector.admission.texts import Texts, limited
from collector.admission.times import EventTimes, Instants, SentTimes, event_times
from collector.admission.verdicts import Verdicts
from hitmesh.model.arrays import BoolArray, I32Array, U64Array
from hitmesh.model.hit_types import NON_INTERACTIVE, HitType
from hitmesh.model.keys import hash64
from hitmesh.model.reasons import HitFlag, HitReason

MAX_HIT_ID_BYTES: Final = 64
_CHECKS: Final = (
    (HitType.SCREEN_VIEW, check_screen),
    (HitType.EVENT, check_event),
    (HitType.ENGAGEMENT, check_engagement),
    (HitType.PERFORMANCE, check_performance),
    (HitType.CART_UPDATE, check_cart),
    (HitType.CHECKOUT_STEP, check_checkout),
    (HitType.ORDER, check_order),
    (HitType.REFUND, check_refund),
    (HitType.SITE_SEARCH, check_search),
    (HitType.EXCEPTION, check_exception),
    (HitType.IDENTIFY, check_identify),
    (HitType.PRODUCT_VIEW, check_product_view),
)


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of all batches that were not refused as a whole. Each hit has a frame, an index and a sender."""

    fields: pa.StructArray
    frame: I32Array
    index: I32Array
    sender: I32Array


@dataclass(frozen=True, slots=True)
class Identified:
    """Each hit's visitor and consent, and the hit's id as sent."""

    visitor: VisitorKeys
    sent_id: Texts | None


_NO_KEYS: Final = np.zeros(0, dtype=np.uint64)
NOBODY: Final = Identified(VisitorKeys(_NO_KEYS, _NO_KEYS, np.zeros(0, dtype=np.bool_)), None)
"""The empty value: visitors, consents and ids of a micro-batch without hits."""


def hits_of(decoded: Decoded, batches: Batches) -> Hits:
    """Return the hits of all batches that were not refused."""
    frame = np.repeat(np.arange(len(decoded.counts), dtype=np.int32), decoded.counts)
    starts = np.cumsum(decoded.counts) - decoded.counts
    index = (np.arange(len(frame)) - starts[frame]).astype(np.int32)
    fields = decoded.table.column("hits").values
    if not batches.taken.all():
        kept = batches.taken[frame]
        fields, frame, index = fields.filter(pa.array(kept)), frame[kept], index[kept]
    return Hits(fields, frame, index, batches.sender[frame])


@dataclass(frozen=True, slots=True)
class Tools:
    """Inputs from outside the micro-batch that are needed to read hits; see `admit`."""

    classifier: Judge
    now: int
    salt_of: SaltOf
    random_id: Callable[[], str]


def read_hits(
    hits: Hits,
    batches: Batches,
    hit_faults: Mapping[tuple[int, int], HitFault],
    tools: Tools,
    columns: Columns,
    verdicts: Verdicts,
) -> Identified:
    """Fill the columns for all hits and refuse faulty hits. Return each hit's visitor and the id that was sent."""
    _refuse_faults(hits, hit_faults, verdicts)
    types = hits.fields.field("type").to_numpy()
    check_types(hits.fields, types, verdicts)
    sent_id = _id(hits.fields.field("hit_id"), "hit_id", MAX_HIT_ID_BYTES, verdicts, mostly_distinct=True)
    context = batches.context.under(context_of(hits.fields.field("context"), "context", verdicts), hits.frame)
    times = _times(hits, batches, verdicts)
    pages = read_pages(hits.fields.field("page_view"), types == HitType.PAGE_VIEW, verdicts)
    campaigns = _campaigns(context, pages, verdicts)
    offline = _offline(hits, batches, verdicts)
    columns.set_numbers("interactive", ~np.isin(types, list(NON_INTERACTIVE)))
    properties = read_properties(hits.fields.field("properties"), verdicts)
    read_payloads(hits.fields, types, _CHECKS, _currencies(hits, batches), columns, verdicts)
    visitor = _visitors(hits, batches, context, pages, times, tools, verdicts)
    flags = classify_agents(context.user_agent, tools.classifier, columns)
    flags |= times.skewed.astype(np.uint32) * np.uint32(HitFlag.CLOCK_SKEW)
    referrer, hostname = (pages.referrer, pages.hostname) if pages else (None, None)
    flags |= classify_arrivals(referrer, hostname, campaigns, _own_hosts(hits, batches), tools.classifier, columns)
    _store_origin(hits, batches, sent_id, tools, columns)
    _store_times(hits, batches, times, columns)
    _store_context(context, campaigns, columns)
    columns.set_text("network", stored_networks(hits.frame, hits.sender, visitor.denied, batches))
    _store_pages(pages, columns)
    for name, numbers in (
        ("hit_type", types.astype(np.uint8)),
        ("offline", offline),
        ("flags", flags),
        ("visitor_hi", visitor.high),
        ("visitor_lo", visitor.low),
        ("content_hash", _content(types, offline, context, campaigns, pages, properties, columns)),
    ):
        columns.set_numbers(name, numbers)
    if properties is not None:
        columns.set_series("properties", properties)
    return Identified(visitor, sent_id)


def _own_hosts(hits: Hits, batches: Batches) -> Texts | None:
    """Return the own hosts of each hit's site, separated by spaces; None if no site declares own hosts."""
    answers = batches.senders.answers
    declared = [" ".join(answer.site.own_hosts) if isinstance(answer, Grant) else "" for answer in answers]
    return Texts.constant(declared, hits.sender) if any(declared) else None


def _refuse_faults(hits: Hits, faults: Mapping[tuple[int, int], HitFault], verdicts: Verdicts) -> None:
    """Refuse the hits that have a decoding fault.

    Hits are sorted by frame and index, so a binary search finds the row that has a fault.
    """
    if not faults or not len(hits.frame):
        return
    frames, indexes = np.array(list(faults), dtype=np.int32).T
    rows = np.searchsorted(hits.frame, frames) + indexes
    rows_known = rows < len(hits.frame)
    rows_known[rows_known] = hits.frame[rows[rows_known]] == frames[rows_known]
    by_kind: dict[tuple[HitReason, str], dict[int, str]] = {}
    for row, known, fault in zip(rows.tolist(), rows_known.tolist(), faults.values(), strict=True):
        if known:
            by_kind.setdefault((fault.reason, fault.field), {})[row] = fault.message
    for (reason, field), messages in by_kind.items():
        at_fault = np.zeros(len(hits.frame), dtype=np.bool_)
        at_fault[list(messages)] = True
        verdicts.refuse(at_fault, reason, field, messages.__getitem__)


def _id(
    column: pa.StringArray, field: str, max_bytes: int, verdicts: Verdicts, *, mostly_distinct: bool = False
) -> Texts | None:
    texts = Texts.of(column, mostly_distinct=mostly_distinct)
    return None if texts is None else limited(texts, field, max_bytes, verdicts, identifies=True)


def _times(hits: Hits, batches: Batches, verdicts: Verdicts) -> EventTimes:
    """Return each hit's event time (rules T1 to T3)."""
    sent = SentTimes(
        collected=batches.collected[hits.frame],
        edge=None if batches.edge_time is None else batches.edge_time.rows(hits.frame),
        created=Instants.of(hits.fields.field("client_create_time"), "client_create_time", verdicts),
        sent=None if batches.sent is None else batches.sent.rows(hits.frame),
        true=Instants.of(hits.fields.field("true_time"), "true_time", verdicts),
        by_server=batches.senders.by_server[hits.sender],
        unbounded=batches.senders.unbounded[hits.sender],
    )
    return event_times(sent, verdicts)


def _campaigns(context: Context, pages: Pages | None, verdicts: Verdicts) -> Campaigns | None:
    """Return each hit's campaign. If the context has no campaign, the URL's campaign counts."""
    named = None if pages is None else campaigns_of_queries(pages.whole_query, verdicts)
    if context.campaigns is None or named is None:
        return context.campaigns or named
    return context.campaigns.or_else(named)


def _offline(hits: Hits, batches: Batches, verdicts: Verdicts) -> BoolArray:
    """Return which hits are offline.

    An offline hit reports an event without the visitor's presence, such as a payment webhook. The field `offline` has
    an effect only in hits that were sent with a server key (rule S2).
    """
    sent = np.asarray(hits.fields.field("offline"))
    by_server = batches.senders.by_server[hits.sender]
    message = "offline was ignored, because it needs a server key: send offline hits with a server key"
    verdicts.warn(sent & ~by_server, HitReason.INVALID_FIELD, "offline", message)
    offline: BoolArray = sent & by_server
    return offline


def _currencies(hits: Hits, batches: Batches) -> Texts:
    senders = batches.senders
    return Texts.constant([site.currency for site in senders.sites], senders.site[hits.sender])


def _visitors(
    hits: Hits,
    batches: Batches,
    context: Context,
    pages: Pages | None,
    times: EventTimes,
    tools: Tools,
    verdicts: Verdicts,
) -> VisitorKeys:
    identities = Identities(
        sites=batches.senders.sites,
        site=batches.senders.site[hits.sender],
        visitor=_id(hits.fields.field("visitor_id"), "visitor_id", MAX_ID_BYTES, verdicts),
        user=_id(hits.fields.field("user_id"), "user_id", MAX_ID_BYTES, verdicts),
        network=None if batches.network is None else batches.network.rows(hits.frame),
        user_agent=context.user_agent,
        hostname=None if pages is None else pages.hostname,
        consent=context.consent,
        event_time=times.values,
    )
    return visitor_keys(identities, tools.now, tools.salt_of, verdicts)


def _content(
    types: I32Array,
    offline: BoolArray,
    context: Context,
    campaigns: Campaigns | None,
    pages: Pages | None,
    properties: pl.Series | None,
    columns: Columns,
) -> U64Array:
    """Return a hash of each hit's type, payload, context and properties (rule D1).

    The hash covers neither edge context nor times.
    """
    content = ContentHash(columns.height)
    content.add_numbers("type", types)
    content.add_numbers("offline", offline)
    texts = {"user_agent": context.user_agent, "language": context.language}
    if campaigns is not None:
        texts |= {name: campaigns.text(name) for name in CAMPAIGN_FIELDS}
    if pages is not None:
        content.add_numbers("http_status", pages.http_status)
        texts |= {"url": pages.url, "title": pages.title, "referrer": pages.referrer, "view_id": pages.view_id}
    content.add_texts(texts)
    content.add_bytes("payload", columns.series("payload"))
    content.add_entries("properties", properties)
    return content.values


def _store_origin(hits: Hits, batches: Batches, sent_id: Texts | None, tools: Tools, columns: Columns) -> None:
    """Store each hit's site, key, batch and id. Generate the hit ids that are missing (rule D1)."""
    senders, key_ids = batches.senders, batches.senders.key_ids
    batch_id = None if batches.batch_id is None else batches.batch_id.rows(hits.frame)

    def made_up(row: int) -> str:
        batch = "" if batch_id is None else batch_id.value(row)
        if not batch:
            return tools.random_id()
        return f"{hash64(key_ids[int(hits.sender[row])], batch, str(int(hits.index[row]))):016x}"

    ids = with_ids(sent_id, columns.height, made_up)
    columns.set_text("hit_id", ids)
    columns.set_numbers("hit_hash", id_hashes(ids))
    columns.set_text("site", Texts.constant([site.name for site in senders.sites], senders.site[hits.sender]))
    columns.set_text("key_id", Texts.constant(key_ids, hits.sender))
    columns.set_text("batch_id", batch_id)
    columns.set_numbers("batch_index", hits.index.astype(np.uint32))


def _store_times(hits: Hits, batches: Batches, times: EventTimes, columns: Columns) -> None:
    columns.set_numbers("event_time", times.values)
    columns.set_numbers("time_source", times.source)
    columns.set_numbers("collect_time", batches.collected[hits.frame])
    if batches.edge_time is not None:
        edge = batches.edge_time.rows(hits.frame)
        columns.set_numbers("edge_time", edge.values, edge.known)
    columns.set_text("country", None if batches.country is None else batches.country.rows(hits.frame))


def _store_context(context: Context, campaigns: Campaigns | None, columns: Columns) -> None:
    columns.set_text("user_agent", context.user_agent)
    columns.set_text("language", context.language)
    if campaigns is None:
        columns.set_numbers("campaign_hash", np.zeros(columns.height, dtype=np.uint64))
        return
    columns.set_numbers("campaign_hash", campaigns.hashes())
    for name, field in zip(CAMPAIGN_COLUMNS, CAMPAIGN_FIELDS, strict=True):
        columns.set_text(name, campaigns.text(field))


def _store_pages(pages: Pages | None, columns: Columns) -> None:
    """Store page views. Other rows of the column `page_path` may already contain screen names."""
    if pages is None:
        return
    screens = columns.text("page_path")
    columns.set_text("page_path", pages.path if screens is None else screens.or_else(pages.path))
    columns.set_text("hostname", pages.hostname)
    columns.set_text("page_query", pages.query)
    columns.set_text("title", pages.title)
    columns.set_text("referrer", pages.referrer)
    columns.set_numbers("http_status", pages.http_status.astype(np.uint16), pages.http_status != 0)
