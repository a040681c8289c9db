"""Looks up a sender's key and site header in the directory. Returns a grant or a refusal."""

from __future__ import annotations

from collections.abc import Iterable

from collector.admission import SITE_FIELD, Grant, Refusal
from hitmesh.access.key_endings import ending_of
from hitmesh.access.roles import cannot_send, has_role
from hitmesh.model.errors import KeyNotLookedUp, RefusedError
from hitmesh.model.names import site_name
from hitmesh.model.reasons import HitReason
from hitmesh.model.sites import IngestKey, Role
from hitmesh.ports import SiteDirectory

Sender = tuple[str, str]  # (key secret, site header)


def resolve(senders: Iterable[Sender], directory: SiteDirectory, now: int) -> dict[Sender, Grant | Refusal]:
    """Return each sender's grant or refusal at a time (UTC ms).

    A site that belongs to another merchant is refused in the same way as an unknown site.
    """
    return {sender: _resolve_one(*sender, directory, now) for sender in senders}


def unknown_key_message(secret: str) -> str:
    """Return the message for a key that the directory does not know. A proxy joins several headers with commas."""
    if "," in secret:
        return "the ingest key has a comma, like several authorization headers: send a single key in a single header"
    return "the ingest key is not known: check the key, or create a key with CreateIngestKey"


def _resolve_one(secret: str, site_header: str, directory: SiteDirectory, now: int) -> Grant | Refusal:
    if not secret:
        return Refusal(
            HitReason.UNKNOWN_KEY,
            "the batch names no ingest key: set HitBatch.ingest_key or StreamOpen.ingest_key, or send the key as "
            "authorization: Bearer <key>, in a single header; a token cannot send hits",
        )
    try:
        key = directory.key(secret)
    except KeyNotLookedUp as error:  # other senders' batches are still admitted
        return Refusal(error.reason, error.message, retry=True, variables=error.variables)
    if key is None:
        return Refusal(HitReason.UNKNOWN_KEY, unknown_key_message(secret))
    ending = ending_of(key, now)
    if ending is not None:
        return Refusal(
            HitReason(ending.reason),
            ending.message,
            site=_site_of_refusal(key, site_header, directory),
            key_id=key.key_id,
            variables=ending.variables,
        )
    if not has_role(key, Role.SEND):
        return Refusal(
            HitReason.PERMISSION_DENIED,
            cannot_send(key),
            site=_site_of_refusal(key, site_header, directory),
            key_id=key.key_id,
            variables={"key_kind": key.kind.value},
        )
    try:
        named = site_name(site_header) if site_header else key.site
    except RefusedError as error:
        return Refusal(
            HitReason.UNKNOWN_SITE, error.message, key_id=key.key_id, at_fault=SITE_FIELD, variables=error.variables
        )
    if named is None:
        message = f"key {key.key_id} is for all sites of {key.merchant}: name a site in the header hitmesh-site"
        return Refusal(
            HitReason.UNKNOWN_SITE,
            message,
            key_id=key.key_id,
            at_fault=SITE_FIELD,
            variables={"key_id": key.key_id, "merchant": key.merchant},
        )
    allowed = named == key.site if key.site is not None else named.startswith(f"{key.merchant}/sites/")
    site = directory.site(named) if allowed else None
    if site is None:
        # The sender chose the site's name, and the site may belong to another merchant. The refused hits are therefore
        # not stored under the site that the sender named.
        message = f"there is no site {named} for key {key.key_id}: create the site, or correct the header hitmesh-site"
        if key.site is not None and named != key.site:
            message = f"key {key.key_id} is not for {named}: leave out the header hitmesh-site, or use another key"
        variables = {"key_id": key.key_id, "value": named}
        return Refusal(HitReason.UNKNOWN_SITE, message, key_id=key.key_id, at_fault=SITE_FIELD, variables=variables)
    return Grant(key=key, site=site)


def _site_of_refusal(key: IngestKey, site_header: str, directory: SiteDirectory) -> str:
    """Return the site under which the refused hits of a known key count, so that the merchant can see the refusals.

    Return "" if the key is for all sites of its merchant, and the site header names none of these sites.
    """
    if key.site is not None:
        return key.site
    try:
        named = site_name(site_header) if site_header else ""
    except RefusedError:
        return ""
    return named if named.startswith(f"{key.merchant}/sites/") and directory.site(named) is not None else ""
