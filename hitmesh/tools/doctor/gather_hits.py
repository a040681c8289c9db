"""Gathers facts about the way of a hit: sends a canary, and follows it into two reports.

The canary has a site of its own, of a merchant that only the doctor uses, so that it changes no merchant's numbers
(docs/decisions/0127). Each run makes a key for that merchant, and deletes the key at the end.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client import keys, merchants, sites
from hitmesh.client.batches import SDK
from hitmesh.client.mesh import SITE_METADATA, Mesh
from hitmesh.client.visibility import Watch as Visibility
from hitmesh.model.dates import date_message
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.doctor.facts import CanaryFacts, CanaryStep, ClockReading, CountedFacts
from hitmesh.tools.doctor.findings import Skipped
from hitmesh.tools.doctor.judge_hits import ACKNOWLEDGED, COUNTED, PREPARED, REPORTED, uncounted
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch, text_of

MERCHANT: Final = "merchants/hitmesh-doctor"
SITE: Final = f"{MERCHANT}/sites/canary"
DISPLAY_NAME: Final = "canary of hitmesh doctor"
PAGE: Final = "https://doctor.invalid"
_KEY_MS: Final = 10 * 60 * 1000
_KEY_KNOWN_S: Final = 10.0
_PAUSE_S: Final = 0.1
CALL_S: Final = 5.0
_ROLES: Final = ("send", "read", "administer")
REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_UNKNOWN_YET: Final = (*REFUSED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


class _Journey:
    """The canary's steps so far, and the step in progress."""

    def __init__(self, hit_id: str) -> None:
        self.hit_id = hit_id
        self.step = PREPARED
        self.acknowledged_s = 0.0
        self.log_clock: ClockReading | None = None
        self.visible_s: float | None = None
        self._began_s = time.monotonic()
        self._steps: list[CanaryStep] = []

    def done(self, detail: str, following: str) -> None:
        """Note that the step in progress succeeded, and begin the following step."""
        self._steps.append(CanaryStep(self.step, time.monotonic() - self._began_s, detail))
        self.step = following

    def facts(self, failure: str = "") -> CanaryFacts:
        """Return the facts. If `failure` is not empty, the step in progress failed."""
        return CanaryFacts(
            SITE,
            self.hit_id,
            _request_id(self.hit_id),
            tuple(self._steps),
            self.step if failure else "",
            failure,
            self.visible_s,
            self.log_clock,
        )


def _request_id(hit_id: str) -> str:
    return f"doctor-{hit_id}"


def gather_canary(place: Place, watch: Watch) -> CanaryFacts | Skipped:
    """Send a page view through the front door, and follow it into two reports."""
    if place.operator_key is None:
        return Skipped(
            "no operator's key is known: set HITMESH_OPERATOR_KEY_FILE, or give as --home the home of `hitmesh dev`"
        )
    journey = _Journey(uuid.uuid4().hex)
    try:
        with canary_access(place, watch) as mesh:
            journey.done(f"site {SITE} and a key are there", ACKNOWLEDGED)
            days = _range_around(place.clock.now())
            before = _hits_before(mesh, watch, days)
            offsets = _send(mesh, place, watch, journey)
            _await_reported(mesh, watch, journey, offsets, place.limits.canary_s)
            _await_counted(mesh, place, watch, journey, days, before)
    except _Failed as failure:
        return journey.facts(str(failure))
    except (grpc.RpcError, HitmeshError) as error:
        return journey.facts(f"{watch.waits_for}: {text_of(error)}")
    return journey.facts()


class _Failed(Exception):
    """A step of the canary's journey failed; the text has the cause."""


@contextmanager
def canary_access(place: Place, watch: Watch) -> Iterator[Mesh]:
    """Yield the mesh with a key for the canary's merchant. Make the merchant and the site, if they are missing.

    Raises:
        RefusedError: there is no operator's key (NO_KEY).
        grpc.RpcError: the control service refuses a call or does not answer.
    """
    if place.operator_key is None:
        raise RefusedError("no operator's key is known: set HITMESH_OPERATOR_KEY_FILE", reason=LocalReason.NO_KEY)
    with Mesh.connect(place.operators, place.operator_key) as operators:
        watch.on(f"the control service through {place.operators}")
        merchants.create_merchant(operators, MERCHANT, DISPLAY_NAME)
        now = place.clock.now()
        _delete_ended_keys(operators)
        made = keys.create_key(
            operators, MERCHANT, "server", None, _ROLES, display_name=DISPLAY_NAME, expires_at=now + _KEY_MS
        )
        try:
            with Mesh.connect(place.door, made.secret) as mesh:
                _ensure_site(mesh, watch)
                yield mesh
        finally:
            with suppress(grpc.RpcError):  # the key expires by itself, and the next run deletes it
                keys.revoke_key(operators, made.key.name)
                keys.delete_key(operators, made.key.name)


def _delete_ended_keys(operators: Mesh) -> None:
    """Delete keys that earlier runs left, because the runs were killed."""
    for key in keys.list_keys(operators, MERCHANT, show_revoked=True):
        with suppress(grpc.RpcError):  # keys of runs in progress are valid, and are not deleted
            keys.delete_key(operators, key.name)


def _ensure_site(mesh: Mesh, watch: Watch) -> None:
    """Create the site if it is missing. Services know a new key after a second."""
    ends_s = time.monotonic() + watch.left_s(_KEY_KNOWN_S)
    while True:
        try:
            sites.ensure_site(mesh, SITE, None)
            return
        except grpc.RpcError as error:
            if error.code() not in REFUSED or time.monotonic() > ends_s:
                raise
        time.sleep(_PAUSE_S)


def _send(mesh: Mesh, place: Place, watch: Watch, journey: _Journey) -> dict[tuple[str, int], int]:
    """Send the hit, and return the highest offset per partition. Services know a new key and site after a second."""
    request = collector_pb2.SendHitsRequest(batch=_batch(journey.hit_id, mesh.require_key(), place.clock.now()))
    metadata = (*mesh.credentials, (SITE_METADATA, SITE), ("x-request-id", _request_id(journey.hit_id)))
    ends_s = time.monotonic() + watch.left_s(_KEY_KNOWN_S)
    while True:
        watch.on(f"the collector through {place.door}")
        before, began_s = place.clock.now(), time.monotonic()
        try:
            answer = mesh.collector.SendHits(request, timeout=watch.left_s(CALL_S), metadata=metadata)
        except grpc.RpcError as error:
            if error.code() not in _UNKNOWN_YET or time.monotonic() > ends_s:
                raise
            answer = collector_pb2.SendHitsResponse()
        if answer.accepted_count:
            break
        if time.monotonic() > ends_s:
            raise _Failed(f"the collector does not accept the hit: {'; '.join(each.message for each in answer.issues)}")
        time.sleep(_PAUSE_S)
    (receipt, *_) = answer.receipts
    if receipt.HasField("log_time"):
        log_time = receipt.log_time.ToMilliseconds()
        journey.log_clock = ClockReading("the log", log_time, 1, before, place.clock.now())
    journey.acknowledged_s = time.monotonic()
    took_ms = (journey.acknowledged_s - began_s) * 1000
    journey.done(f"{receipt.log}/{receipt.partition}@{receipt.offset}, {took_ms:,.0f} ms for the call", REPORTED)
    return {(receipt.log, receipt.partition): receipt.offset}


def _batch(hit_id: str, key: str, now: int) -> hit_pb2.HitBatch:
    hit = hit_pb2.Hit(
        hit_id=hit_id,
        type=hit_pb2.HIT_TYPE_PAGE_VIEW,
        visitor_id="hitmesh-doctor",
        page_view=hit_pb2.PageView(url=f"{PAGE}{_path(hit_id)}"),
    )
    hit.true_time.FromMilliseconds(now)
    return hit_pb2.HitBatch(batch_id=hit_id, ingest_key=key, sdk=SDK, hits=[hit])


def _path(hit_id: str) -> str:
    """Return the canary's page, which no other hit has, so that reports can count the hit alone."""
    return f"/canary/{hit_id}"


def _await_reported(
    mesh: Mesh, watch: Watch, journey: _Journey, offsets: dict[tuple[str, int], int], most_s: float
) -> None:
    """Wait until the freshness of reports covers the hit."""
    visibility, request = Visibility(offsets), reporter_pb2.GetFreshnessRequest(site=SITE)
    ends_s = journey.acknowledged_s + watch.left_s(most_s)
    missing: str | None = "nothing was read"
    while missing is not None:
        watch.on("GetFreshness of the reporter")
        try:
            answer = mesh.reporter.GetFreshness(request, timeout=watch.left_s(CALL_S), metadata=mesh.credentials)
            missing = visibility.missing_in(answer)
        except grpc.RpcError as error:
            missing = f"the reporter does not answer ({text_of(error)})"
        if missing is not None and time.monotonic() + CALL_S > ends_s:
            waited_s = time.monotonic() - journey.acknowledged_s
            raise _Failed(f"the hit is not in reports {waited_s:.0f} s after the acknowledgement: {missing}")
        if missing is not None:
            time.sleep(_PAUSE_S)
    journey.visible_s = time.monotonic() - journey.acknowledged_s
    journey.done("reports cover the hit's position", COUNTED)


def _range_around(now: int) -> reporter_pb2.TimeRange:
    """Return yesterday to tomorrow. The range is the same in all reports of a run, also if a day ends meanwhile."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    dates = reporter_pb2.DateRange(
        first_date=date_message(today - timedelta(days=1)), last_date=date_message(today + timedelta(days=1))
    )
    return reporter_pb2.TimeRange(dates=dates)


def _hits_before(mesh: Mesh, watch: Watch, days: reporter_pb2.TimeRange) -> int:
    """Return the hits that the site has already. Services know a new key and site after a second."""
    ends_s = time.monotonic() + watch.left_s(_KEY_KNOWN_S)
    while True:
        watch.on("RunReport of the reporter")
        try:
            return _hits(mesh, watch, days, None)[0]
        except grpc.RpcError as error:
            if error.code() not in _UNKNOWN_YET or time.monotonic() > ends_s:
                raise
        time.sleep(_PAUSE_S)


def _await_counted(
    mesh: Mesh, place: Place, watch: Watch, journey: _Journey, days: reporter_pb2.TimeRange, before: int
) -> None:
    """Wait until a report on the canary's page counts the hit once, and a report on the site counts more than before.

    On servers, the report on the site must come from Cassandra: another store hides that the series cannot be read.
    """
    ends_s = time.monotonic() + watch.left_s() - CALL_S
    while True:
        watch.on("RunReport of the reporter")
        by_page, store_of_page = _hits(mesh, watch, days, journey.hit_id)
        in_all, store_of_all = _hits(mesh, watch, days, None)
        found = CountedFacts(by_page, store_of_page, before, in_all, store_of_all, place.is_on_servers)
        failure = uncounted(found)
        if not failure:
            journey.done(f"hits in reports: {found.text}", COUNTED)
            return
        if by_page > 1 or time.monotonic() > ends_s:
            raise _Failed(failure)
        time.sleep(_PAUSE_S)


def _hits(mesh: Mesh, watch: Watch, days: reporter_pb2.TimeRange, hit_id: str | None) -> tuple[int, str]:
    """Return the number of hits in a time range, and the store that answered."""
    request = reporter_pb2.RunReportRequest(
        site=SITE,
        metrics=["hits"],
        time_range=days,
        time_grain=reporter_pb2.TIME_GRAIN_NONE,
        include_excluded=True,
    )
    if hit_id is not None:
        page = request.filter.dimension_filter
        page.dimension, page.operator = "page_path", reporter_pb2.FILTER_OPERATOR_EQ
        page.values.append(_path(hit_id))
    answer = mesh.reporter.RunReport(request, timeout=watch.left_s(CALL_S), metadata=mesh.credentials)
    store = reporter_pb2.Store.Name(answer.meta.served_by).removeprefix("STORE_").lower()
    return sum(row.cells[0].int64_value for row in answer.rows), store
