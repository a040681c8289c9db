"""Finds denied consent in bytes that admission does not read (rule I4): refused batches and damaged hits.

Decides whether bytes may contain a hit whose visitor denied consent. Bytes that may contain a denial of consent are not
kept. Bytes that are not damaged are decoded. In damaged bytes, every byte pattern that may be a denial counts as a
denial. Bytes of a visitor who denied consent are therefore never kept.
"""

from __future__ import annotations

import json
import re
from itertools import takewhile
from typing import Final

from google.protobuf.message import DecodeError

from collector.admission.envelopes import Frame
from collector.admission.identity import DENIED, GRANTED
from hitmesh.internal.log.v1 import view_pb2
from hitmesh.model.refusals import MAX_KEPT_BYTES

UNSPECIFIED: Final = 0
_JSON_STATES: Final = {
    "CONSENT_STATE_GRANTED": GRANTED,
    "CONSENT_STATE_UNSPECIFIED": UNSPECIFIED,
    "1": GRANTED,
    "0": UNSPECIFIED,
    "None": UNSPECIFIED,
}
# Matches a Consent in a Context: tag, length, up to 14 bytes of other fields, and `analytics` with the value DENIED.
_DENIAL: Final = re.compile(rb"\x22[\x02-\x10][\x00-\xff]{0,14}?\x08\x02")


def may_deny(frame: Frame, is_denied_by_default: bool) -> bool:
    """Return whether the first MAX_KEPT_BYTES of a batch may contain a hit whose visitor denied consent.

    Args:
        frame: the batch.
        is_denied_by_default: whether a hit that states no consent counts as a hit that denies consent, according to the
            site's default.
    """
    try:
        envelope = view_pb2.HitBatchEnvelope.FromString(frame.batch)
    except DecodeError:
        return is_denied_by_default or _DENIAL.search(frame.batch) is not None
    default = _context_state(envelope.default_context)
    if default == UNSPECIFIED and is_denied_by_default:
        default = DENIED
    states = set(_sent_states(frame) if frame.sent else map(state_of_hit, _first_hits(envelope)))
    return DENIED in states or (default == DENIED and states != {GRANTED})


def state_of_hit(hit: bytes) -> int:
    """Return the consent that a hit states, or DENIED if the bytes are damaged and may deny consent."""
    try:
        return view_pb2.HitConsentView.FromString(hit).context.consent.analytics
    except DecodeError:
        return _damaged_state(hit)


def state_of_json(hit: object) -> int:
    """Return the consent of a hit that was sent as JSON, or DENIED if its consent state is unknown.

    Example:
        >>> state_of_json({"context": {"consent": {"analytics": "CONSENT_STATE_DENIED"}}})
        2
        >>> state_of_json({"hitId": "h1"})
        0
    """
    for name in ("context", "consent", "analytics"):
        hit = hit.get(name) if isinstance(hit, dict) else None
    return _JSON_STATES.get(str(hit), DENIED)


def _context_state(context: bytes) -> int:
    try:
        return view_pb2.ContextConsentView.FromString(context).consent.analytics
    except DecodeError:
        return _damaged_state(context)


def _damaged_state(message: bytes) -> int:
    return DENIED if _DENIAL.search(message) else UNSPECIFIED


def _first_hits(envelope: view_pb2.HitBatchEnvelope) -> list[bytes]:
    """Return the hits whose bytes may be kept."""
    hits, size = [], 0
    for hit in envelope.hits:
        if size >= MAX_KEPT_BYTES:
            break
        hits.append(hit)
        size += len(hit)
    return hits


def _sent_states(frame: Frame) -> list[int]:
    """Return the consent of the hits whose JSON may be kept."""
    if frame.sent is None:
        return []
    text, spans = frame.sent
    kept = takewhile(lambda span: span[0] < 2 * MAX_KEPT_BYTES, spans)
    try:
        return [state_of_json(json.loads(text[start:end])) for start, end in kept]
    except (ValueError, RecursionError):
        return [DENIED]
