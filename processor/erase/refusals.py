"""Finds a visitor's refused hits in the bytes that are kept for refusals.

A refusal keeps at most 4 KiB of the original bytes, in protobuf or JSON. The bytes are a hit, or a batch that was
refused as a whole. Bytes that do not decode may come from the visitor, so they are treated as the visitor's bytes. If
the bytes contain neither a visitor id nor a user id, they are from a visitor without cookies, whose key cannot be
computed from the bytes. If a refusal has no site, a matching id is enough, because the site is unknown. If the
refusal's ingest key belongs to another merchant, the refusal is not changed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import DecodeError

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.erasures import visitor_digest
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.keys import visitor_key
from hitmesh.model.reasons import HitReason
from hitmesh.model.records import RejectedHit
from hitmesh.model.refusals import JSON_MARK
from hitmesh.model.rows.erased_refusals import without_texts
from hitmesh.model.rows.erased_rows import is_erased
from hitmesh.model.sites import Site
from hitmesh.ports import LogEraser, RawStore
from processor.settle.window import read_rows

_JSON_IDS: Final = {"visitor": ("visitorId", "visitor_id"), "user": ("userId", "user_id")}


class Refusals:
    """Recognises erased visitors' refusals, and removes the refusals' bytes from the log.

    Args:
        site: the site, whose secret is the key for visitor hashes.
        mesh_secret: the mesh secret.
        digests: the visitors' digests.
        key_ids: all key ids with which the site's hits may have been sent.
        until: refusals that were collected at this time (UTC ms) or later are not changed.
        raw: the raw records, which show whether an id collision's hit is erased.
        log: the log.
    """

    def __init__(
        self,
        site: Site,
        mesh_secret: bytes,
        digests: Collection[str],
        key_ids: Collection[str],
        until: int,
        raw: RawStore,
        log: LogEraser,
    ) -> None:
        self._site = site
        self._mesh_secret = mesh_secret
        self._digests = frozenset(digests)
        self._key_ids = frozenset(key_ids)
        self._until = until
        self._raw = raw
        self._log = log
        self.seen = 0
        self.in_log = 0

    def must_go(self, hit: RejectedHit) -> bool:
        """Return whether a refusal's texts must be removed.

        If the texts must be removed, this function itself removes the texts from the log.
        """
        self.seen += 1
        if hit.collect_time >= self._until or not self._is_of_visitor(hit):
            return False
        self.in_log += self._removed_from_log(hit)
        return True

    def _is_of_visitor(self, hit: RejectedHit) -> bool:
        if hit.reason == HitReason.ID_COLLISION:
            return self._is_blank(hit)
        if not hit.original or self._is_of_another_merchant(hit):
            return False
        try:
            ids = list(_ids_in(hit.original))
        except DecodeError:
            return hit.site == self._site.name
        return any(self._digest(kind, id_) in self._digests for kind, id_ in ids)

    def _is_of_another_merchant(self, hit: RejectedHit) -> bool:
        key_id = hit.origin.key_id if hit.origin is not None else ""
        return not hit.site and bool(key_id) and key_id not in self._key_ids

    def _is_blank(self, hit: RejectedHit) -> bool:
        record = self._raw.get(hit.position)
        if record is None:
            return False
        blank = read_rows(record.value, ("flags",)).select(is_erased()).to_series()
        return hit.row < len(blank) and bool(blank[hit.row])

    def _digest(self, kind: str, id_: str) -> str:
        return visitor_digest(self._mesh_secret, self._site.name, visitor_key(self._site.secret, kind, id_))

    def _removed_from_log(self, hit: RejectedHit) -> bool:
        logged = self._log.record(hit.position)
        if logged is None or hit.reason == HitReason.ID_COLLISION or (hit.reason == HitReason.DECODE and not hit.site):
            return False
        seen = logged.record.value
        record = replace(logged.record, value=without_texts(seen, hit.row))
        if not self._log.replace(replace(logged, record=record), seen):
            raise StaleGeneration(f"refusals {hit.position} were rewritten since they were read; read them again")
        return True


def _ids_in(original: bytes) -> Iterator[tuple[str, str]]:
    """Yield the ids in a hit or a batch, each with its kind as in hitmesh.model.keys:visitor_key.

    Some bytes can be decoded both as a hit and as a batch. Decoding with the wrong type yields texts that match no
    visitor id.

    Raises:
        DecodeError: the bytes are neither a whole hit nor a whole batch.
    """
    if original.startswith(JSON_MARK):
        yield from _ids_in_json(original.removeprefix(JSON_MARK))
        return
    hits = [*_hits_of_batch(original), *_hit(original)]
    if not hits:
        raise DecodeError("neither a hit nor a batch")
    for hit in hits:
        yield from (("visitor", hit.visitor_id), ("user", hit.user_id))


def _ids_in_json(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the ids in a hit's or batch's JSON.

    The function reads a field's name in both JSON spellings. If an id is a JSON number, the number is read as text.
    """
    try:
        sent = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise DecodeError("neither a hit nor a batch") from error
    for hit in [sent, *_list_of(sent, "hits")]:
        if not isinstance(hit, dict):
            raise DecodeError("a hit is not a JSON object")
        for kind, names in _JSON_IDS.items():
            yield from ((kind, _text(hit.get(name))) for name in names)


def _text(id_: object) -> str:
    return str(id_).encode("utf-8", "replace").decode() if isinstance(id_, str | int) else ""


def _list_of(sent: Any, name: str) -> list[Any]:
    found = sent.get(name) if isinstance(sent, dict) else None
    return found if isinstance(found, list) else []


def _hit(original: bytes) -> list[hit_pb2.Hit]:
    try:
        return [hit_pb2.Hit.FromString(original)]
    except DecodeError:
        return []


def _hits_of_batch(original: bytes) -> list[hit_pb2.Hit]:
    try:
        return list(hit_pb2.HitBatch.FromString(original).hits)
    except DecodeError:
        return []
