"""Refuses hits with a browser key from web pages whose origin is not on the site's list.

Every visitor can read a browser key, so a browser key in another web page is refused here. A program outside a browser
can send any origin. Server keys and edge keys are secret, so the origin does not matter for these keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from collector.admission import Frame, Refusal, read_frames
from collector.admission.batches import Answer
from collector.admission.envelopes import Envelope, Fault
from collector.grants import resolve
from hitmesh.model.errors import PermissionDenied
from hitmesh.model.origins import MAX_ORIGIN_CHARS, is_allowed
from hitmesh.model.reasons import ErrorReason, HitReason
from hitmesh.model.sites import KeyKind, Site
from hitmesh.ports import SiteDirectory

ORIGIN_FIELD = "origin"


def origin_refusal(kind: KeyKind, site: Site, origin: str) -> PermissionDenied | None:
    """Return the error for hits of a site with a key of a kind, or None if the origin is allowed.

    Args:
        kind: kind of the key.
        site: the site to which the hits belong.
        origin: value of the request's header `origin`; "" if the request has no such header.
    """
    if not site.allowed_origins or kind is not KeyKind.BROWSER or is_allowed(origin, site.allowed_origins):
        return None
    shown = origin[:MAX_ORIGIN_CHARS]
    if not origin:
        message = (
            f"the request has no header origin, and site {site.name} accepts hits with a browser key from the web "
            "pages of its list only: send the header, or use a server key"
        )
    else:
        message = (
            f"origin {shown!r} is not allowed for site {site.name}: add the origin to the site's allowed_origins with "
            "UpdateSite, or send hits from an allowed origin"
        )
    return PermissionDenied(
        message, field=ORIGIN_FIELD, reason=ErrorReason.ORIGIN_NOT_ALLOWED, origin=shown, site=site.name
    )


def granted(
    frames: Sequence[Frame], directory: SiteDirectory, now: int
) -> tuple[Sequence[Envelope], Mapping[tuple[str, str], Answer]]:
    """Return each batch's envelope, and each sender's grant or refusal at a time (UTC ms). No hit is read.

    The envelope of a batch whose origin is not allowed has a fault.
    """
    envelopes, senders = read_frames(frames)
    grants = resolve(senders, directory, now)
    pairs = zip(frames, envelopes, strict=True)
    return [_with_origin(frame, envelope, grants[envelope.sender]) for frame, envelope in pairs], grants


def _with_origin(frame: Frame, envelope: Envelope, answer: Answer) -> Envelope:
    if isinstance(answer, Refusal) or not answer.site.allowed_origins or envelope.fault is not None:
        return envelope
    error = origin_refusal(answer.key.kind, answer.site, frame.origin)
    if error is None:
        return envelope
    fault = Fault(HitReason.ORIGIN_NOT_ALLOWED, ORIGIN_FIELD, error.message, envelope.hits, error.variables)
    return replace(envelope, fault=fault)
