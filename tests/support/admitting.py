"""Build hits, batches and grants for admission tests, and admit batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from collector.admission import Admitted, Frame, Grant, Refusal, admit, decode
from collector.admission.rule_costs import RuleSteps, all_pass
from collector.classify import Classifier
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.sites import IngestKey, KeyKind, Site

NOW = 1_700_000_000_000
"""The collect time of every frame unless a test sets another: 2023-11-14T22:13:20Z."""
SITE = Site("merchants/m/sites/s", "Europe/Berlin", "EUR", secret=b"secret of a test")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:25.0) Gecko/20100101 Firefox/25.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
SERVER, BROWSER, EDGE, IMPORT = "server", "browser", "edge", "import"
"""Secrets of the ingest keys in tests. `IMPORT` is a server key with unbounded history."""


@cache
def classifier() -> Classifier:
    return Classifier()


def grant(kind: KeyKind, site: Site = SITE, *, key_id: str = "", unbounded: bool = False) -> Grant:
    key = IngestKey(key_id or f"id-of-{kind}", "merchants/m", kind, site.name, unbounded_history=unbounded)
    return Grant(key, site)


def grants(site: Site = SITE) -> dict[tuple[str, str], Grant | Refusal]:
    return {
        (SERVER, ""): grant(KeyKind.SERVER, site),
        # Browser and edge keys ignore the permission for unbounded history (rule T3).
        (BROWSER, ""): grant(KeyKind.BROWSER, site, unbounded=True),
        (EDGE, ""): grant(KeyKind.EDGE, site, unbounded=True),
        (IMPORT, ""): grant(KeyKind.SERVER, site, key_id="id-of-import", unbounded=True),
    }


def a_hit(hit_id: str = "h1", *, at: int | None = None, true_time: int | None = None, **fields: Any) -> hit_pb2.Hit:
    """Return a hit of visitor v. The hit is a page view unless `fields` name another type."""
    hit = hit_pb2.Hit(hit_id=hit_id, visitor_id=fields.pop("visitor_id", "v"))
    if not fields.keys() & {"type"}:
        hit.type = hit_pb2.HIT_TYPE_PAGE_VIEW
        fields.setdefault("page_view", hit_pb2.PageView(url="https://shop.example/"))
    if at is not None:
        hit.client_create_time.FromMilliseconds(at)
    if true_time is not None:
        hit.true_time.FromMilliseconds(true_time)
    hit.MergeFrom(hit_pb2.Hit(**fields))
    return hit


def a_page(url: str, **fields: Any) -> hit_pb2.Hit:
    return a_hit(page_view=hit_pb2.PageView(url=url, **fields))


def a_batch(
    *hits: hit_pb2.Hit, key: str = SERVER, batch_id: str = "b1", sent: int | None = None, **fields: Any
) -> bytes:
    batch = hit_pb2.HitBatch(batch_id=batch_id, ingest_key=key, hits=hits, **fields)
    if sent is not None:
        batch.client_send_time.FromMilliseconds(sent)
    return batch.SerializeToString()


def a_frame(batch: bytes, *, received_at: int = NOW, default_key: str = "", site_header: str = "") -> Frame:
    return Frame(batch, default_key, site_header, received_at)


def salt_of(site: str, local_date: date, today: date) -> bytes:
    return f"salt of {site} on {local_date}".encode()[:64]


def admitted(
    *batches: bytes | Frame,
    to: Mapping[tuple[str, str], Grant | Refusal] | None = None,
    partitions: int = 8,
    rule_steps: RuleSteps = all_pass,
    room_of: Callable[[str], int] = lambda site: sys.maxsize,
) -> Admitted:
    """Admit batches as one micro-batch."""
    frames: Sequence[Frame] = [each if isinstance(each, Frame) else a_frame(each) for each in batches]
    return admit(
        decode(frames),
        grants() if to is None else to,
        classifier(),
        now=NOW,
        partitions=partitions,
        salt_of=salt_of,
        random_id=lambda: "made-up",
        rule_steps=rule_steps,
        room_of=room_of,
    )


def stored(
    hit: hit_pb2.Hit, *, key: str = SERVER, to: Mapping[tuple[str, str], Grant | Refusal] | None = None
) -> dict[str, Any]:
    """Admit a batch with one hit, which must be accepted without an issue, and return the hit's row."""
    found = admitted(a_batch(hit, key=key), to=to)
    assert found.issues == []
    return found.hits.row(0, named=True)


def verdict(
    hit: hit_pb2.Hit, *, key: str = SERVER, to: Mapping[tuple[str, str], Grant | Refusal] | None = None
) -> tuple[str, str, str]:
    """Admit a batch with one hit, and return outcome, reason and field of its only issue."""
    (issue,) = admitted(a_batch(hit, key=key), to=to).issues
    return str(issue.outcome), str(issue.reason), issue.field
