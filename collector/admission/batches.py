"""Reads the facts that all hits in a batch share: sender, site, default context and edge context.

Decides which batches are refused as a whole. Drops the edge context of batches that were sent with a browser or server
key. Only an edge key is trusted to send edge context. The caller has already looked up each sender's grant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final

import numpy as np
import pyarrow as pa

from collector.admission.contexts import Context, context_of
from collector.admission.envelopes import Fault
from collector.admission.frames import Decoded
from collector.admission.texts import Texts, limited
from collector.admission.times import Instants
from collector.admission.verdicts import Verdicts
from hitmesh.access.roles import is_unbounded, rights_of
from hitmesh.model.arrays import BoolArray, I32Array, I64Array
from hitmesh.model.errors import Variable
from hitmesh.model.limits import IPV4_PREFIX_BITS, IPV6_PREFIX_BITS
from hitmesh.model.reasons import HitReason
from hitmesh.model.sites import IngestKey, Site

MAX_BATCH_ID_BYTES: Final = 64
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
# If a sender is refused, the refusal names the faulty field: the batch's key, or the header hitmesh-site.
KEY_FIELD: Final = "ingest_key"
SITE_FIELD: Final = "site"
_NO_GRANT: Final = "the ingest key is missing or unknown: send a key that may send hits as ingest_key"


@dataclass(frozen=True, slots=True)
class Grant:
    """An ingest key, and the site for which the key may send hits. The caller has looked up the key and the site."""

    key: IngestKey
    site: Site


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a sender may not send hits. If `retry` is true, the client should send the batch again.

    `reason` is a value of HitReason; `at_fault` names the faulty field; `variables` holds the variable parts of the
    message. `site` and `key_id` are "" if unknown.
    """

    reason: str
    message: str
    site: str = ""
    key_id: str = ""
    retry: bool = False
    at_fault: str = KEY_FIELD
    variables: Mapping[str, Variable] = field(default_factory=dict)


Answer = Grant | Refusal
UNKNOWN: Final = Refusal(HitReason.UNKNOWN_KEY, _NO_GRANT)


def refused_senders(grants: Mapping[tuple[str, str], Answer]) -> frozenset[tuple[str, str]]:
    """Return the senders who may not send hits. Hits from refused senders are counted but not read."""
    return frozenset(sender for sender, answer in grants.items() if isinstance(answer, Refusal))


@dataclass(frozen=True, slots=True)
class Senders:
    """Facts about each distinct sender. If a sender is refused, only the sender's entry in `answers` is meaningful.

    `site` is an index into `sites`.
    """

    answers: tuple[Answer, ...]
    sites: tuple[Site, ...]
    site: I32Array
    by_server: BoolArray
    by_edge: BoolArray
    unbounded: BoolArray

    @property
    def key_ids(self) -> list[str]:
        """The key id of each sender."""
        return [answer.key.key_id if isinstance(answer, Grant) else answer.key_id for answer in self.answers]


@dataclass(frozen=True, slots=True)
class Batches:
    """The facts about each frame; row i describes frame i. The values of refused frames are undefined."""

    senders: Senders
    sender: I32Array  # each frame's index into `senders`
    taken: BoolArray
    batch_id: Texts | None
    collected: I64Array
    sent: Instants | None
    edge_time: Instants | None
    network: Texts | None  # truncated client address (rule I1)
    country: Texts | None
    context: Context


def read_batches(decoded: Decoded, grants: Mapping[tuple[str, str], Answer], verdicts: Verdicts) -> Batches:
    """Return the facts about each frame. Record refused batches in `verdicts`, which has one row per frame."""
    numbers = {sender: number for number, sender in enumerate(decoded.senders)}
    answers = tuple(grants.get(sender, UNKNOWN) for sender in numbers)
    sender = np.array([numbers[each] for each in decoded.sender_of], dtype=np.int32)
    _refuse_faults(decoded.faults, verdicts)
    _refuse_senders(answers, sender, verdicts)
    table = decoded.table
    batch_id = Texts.of(table.column("batch_id"), mostly_distinct=True)
    if batch_id is not None:
        batch_id = limited(batch_id, "batch_id", MAX_BATCH_ID_BYTES, verdicts, identifies=True)
    context = context_of(table.column("default_context"), "default_context", verdicts)
    senders = _senders(answers)
    trusted = senders.by_edge[sender]
    edge = table.column("edge") if trusted.any() else None
    sent = Instants.of(table.column("client_send_time"), "client_send_time", verdicts)
    edge_time = None if edge is None else _edge_times(edge, trusted, verdicts)
    return Batches(
        senders,
        sender,
        ~verdicts.refused,
        batch_id,
        np.array([frame.received_at for frame in decoded.frames], dtype=np.int64),
        sent,
        edge_time,
        _edge_texts(edge, "client_ip", truncated_network, trusted),
        _edge_texts(edge, "country", _known_country, trusted),
        context,
    )


def _refuse_faults(faults: Mapping[int, Fault], verdicts: Verdicts) -> None:
    for number, fault in faults.items():
        at_fault = np.zeros(len(verdicts.refused), dtype=np.bool_)
        at_fault[number] = True
        verdicts.refuse(at_fault, fault.reason, fault.field, fault.message, fault.variables)


def _refuse_senders(answers: tuple[Answer, ...], sender: I32Array, verdicts: Verdicts) -> None:
    for number, answer in enumerate(answers):
        if isinstance(answer, Refusal):
            reason = HitReason(answer.reason)
            verdicts.refuse(sender == number, reason, answer.at_fault, answer.message, answer.variables)


def _senders(answers: tuple[Answer, ...]) -> Senders:
    granted = [answer if isinstance(answer, Grant) else None for answer in answers]
    sites = {grant.site.name: grant.site for grant in granted if grant}
    numbers = {name: number for number, name in enumerate(sites)}
    rights = [None if grant is None else rights_of(grant.key) for grant in granted]
    return Senders(
        answers,
        tuple(sites.values()),
        np.array([numbers[grant.site.name] if grant else 0 for grant in granted], dtype=np.int32),
        np.array([given is not None and given.sets_times for given in rights], dtype=np.bool_),
        np.array([given is not None and given.sets_context for given in rights], dtype=np.bool_),
        np.array([grant is not None and is_unbounded(grant.key) for grant in granted], dtype=np.bool_),
    )


def _edge_times(edge: pa.StructArray, trusted: BoolArray, verdicts: Verdicts) -> Instants | None:
    return Instants.of(edge.field("edge_receive_time"), "edge.edge_receive_time", verdicts, trusted)


def _edge_texts(edge: pa.StructArray | None, name: str, kept: Callable[[str], str], trusted: BoolArray) -> Texts | None:
    """Return a string field of the edge context, with `kept` applied to each value.

    Rows whose batch does not come from a trusted edge get "".
    """
    texts = None if edge is None else Texts.of(edge.field(name))
    if texts is None:
        return None
    values = ["", *map(kept, texts.values.to_pylist())]
    return Texts.constant(values, np.where(trusted, texts.codes + 1, 0).astype(np.int32))


def truncated_network(address: str) -> str:
    """Return the /24 network of an IPv4 address or the /48 network of an IPv6 address (rule I1).

    If the text is not an address, return "".
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return str(ip_network((mapped, IPV4_PREFIX_BITS if mapped.version == 4 else IPV6_PREFIX_BITS), strict=False))


def _known_country(code: str) -> str:
    return code if _COUNTRY.fullmatch(code) else ""
