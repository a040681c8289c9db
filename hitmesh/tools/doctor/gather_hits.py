"""Gathers facts about hits: sends a canary, and reads ledgers, freshness and the check of settled days.

The canary has a site of its own, of a merchant that only the doctor uses, so that it changes no merchant's numbers
(docs/decisions/0127). Each run makes a key for that merchant, and deletes the key at the end.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import grpc

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.control.v1 import operations_pb2
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client import keys, merchants, sites
from hitmesh.client.batches import SDK
from hitmesh.client.mesh import SITE_METADATA, Mesh
from hitmesh.client.reprocessing import check_history
from hitmesh.client.visibility import Watch as Visibility
from hitmesh.model.dates import date_text_of
from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.doctor.facts import (
    CanaryFacts,
    CanaryStep,
    ClockReading,
    DamagedDay,
    FreshnessFacts,
    HistoryFacts,
    LedgersFacts,
    SiteLedger,
)
from hitmesh.tools.doctor.findings import Skipped
from hitmesh.tools.doctor.judge_hits import ACKNOWLEDGED, COUNTED, PREPARED, REPORTED
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch, text_of

MERCHANT: Final = "merchants/hitmesh-doctor"
SITE: Final = f"{MERCHANT}/sites/canary"
DISPLAY_NAME: Final = "canary of hitmesh doctor"
PAGE: Final = "https://doctor.invalid"
_KEY_MS: Final = 10 * 60 * 1000
_KEY_KNOWN_S: Final = 10.0
_PAUSE_S: Final = 0.1
_CALL_S: Final = 5.0
_MAX_DAYS: Final = 20
_ROLES: Final = ("send", "read", "administer")
_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_UNKNOWN_YET: Final = (*_REFUSED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


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
            offsets = _send(mesh, place, watch, journey)
            _await_reported(mesh, watch, journey, offsets, place.limits.canary_s)
            _await_counted(mesh, watch, journey)
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
            if error.code() not in _REFUSED or time.monotonic() > ends_s:
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
            answer = mesh.collector.SendHits(request, timeout=watch.left_s(_CALL_S), metadata=metadata)
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
            answer = mesh.reporter.GetFreshness(request, timeout=watch.left_s(_CALL_S), metadata=mesh.credentials)
            missing = visibility.missing_in(answer)
        except grpc.RpcError as error:
            missing = f"the reporter does not answer ({text_of(error)})"
        if missing is not None and time.monotonic() + _CALL_S > ends_s:
            waited_s = time.monotonic() - journey.acknowledged_s
            raise _Failed(f"the hit is not in reports {waited_s:.0f} s after the acknowledgement: {missing}")
        if missing is not None:
            time.sleep(_PAUSE_S)
    journey.visible_s = time.monotonic() - journey.acknowledged_s
    journey.done("reports cover the hit's position", COUNTED)


def _await_counted(mesh: Mesh, watch: Watch, journey: _Journey) -> None:
    """Wait until a report on the canary's page counts the hit once, and a report on the site counts it at all."""
    ends_s = time.monotonic() + watch.left_s() - _CALL_S
    while True:
        watch.on("RunReport of the reporter")
        by_page, store_of_page = _hits(mesh, watch, journey.hit_id)
        in_all, store_of_all = _hits(mesh, watch, None)
        text = f"{by_page} with its page ({store_of_page}), {in_all} on the site ({store_of_all})"
        if by_page == 1 and in_all >= 1:
            journey.done(f"hits in reports: {text}", COUNTED)
            return
        if by_page > 1 or time.monotonic() > ends_s:
            raise _Failed(f"reports count {text}; expected are 1 with its page, and at least 1 on the site")
        time.sleep(_PAUSE_S)


def _hits(mesh: Mesh, watch: Watch, hit_id: str | None) -> tuple[int, str]:
    """Return the number of hits in the last two UTC days, and the store that answered."""
    request = reporter_pb2.RunReportRequest(
        site=SITE,
        metrics=["hits"],
        time_range=reporter_pb2.TimeRange(last_days=2),
        time_grain=reporter_pb2.TIME_GRAIN_NONE,
        include_excluded=True,
    )
    if hit_id is not None:
        page = request.filter.dimension_filter
        page.dimension, page.operator = "page_path", reporter_pb2.FILTER_OPERATOR_EQ
        page.values.append(_path(hit_id))
    answer = mesh.reporter.RunReport(request, timeout=watch.left_s(_CALL_S), metadata=mesh.credentials)
    store = reporter_pb2.Store.Name(answer.meta.served_by).removeprefix("STORE_").lower()
    return sum(row.cells[0].int64_value for row in answer.rows), store


def gather_freshness(place: Place, watch: Watch) -> FreshnessFacts | Skipped:
    """Read the freshness of a site that a known key may read; freshness concerns all partitions of the mesh."""
    for mesh in _meshes(place):
        with mesh:
            watch.on(f"ListSites through {place.door}")
            try:
                site = next(sites.list_sites(mesh), None)
            except grpc.RpcError as error:
                if error.code() in _REFUSED:
                    continue
                raise
            if site is not None:
                return _freshness(mesh, watch, site.name)
    if place.operator_key is None:
        return Skipped("no key may read freshness: set HITMESH_OPERATOR_KEY_FILE or HITMESH_KEY_FILE")
    with canary_access(place, watch) as mesh:
        return _freshness(mesh, watch, SITE)


def _freshness(mesh: Mesh, watch: Watch, site: str) -> FreshnessFacts:
    watch.on("GetFreshness of the reporter")
    request = reporter_pb2.GetFreshnessRequest(site=site)
    fresh = mesh.reporter.GetFreshness(request, timeout=watch.left_s(_CALL_S), metadata=mesh.credentials).freshness
    return FreshnessFacts(
        site,
        reporter_pb2.FreshnessState.Name(fresh.state).removeprefix("FRESHNESS_STATE_"),
        fresh.lag.ToMilliseconds() / 1000 if fresh.HasField("lag") else None,
        fresh.cause,
        tuple(fresh.stalled_partitions),
        tuple(
            f"{each.log}/{each.partition} has log time {each.log_time.ToJsonString()}: {each.cause}"
            for each in fresh.ahead
        ),
    )


def _meshes(place: Place) -> Iterator[Mesh]:
    """Yield the mesh with each known key: a merchant's at the public listener, an operator's at the operators'."""
    if place.server_key is not None:
        yield Mesh.connect(place.door, place.server_key)
    yield Mesh.connect(place.operators, place.operator_key)


def gather_ledgers(place: Place, watch: Watch) -> LedgersFacts | Skipped:
    """Read the ledgers of the sites that the known keys may read, and the ledger of hits without a site."""
    found: dict[str, SiteLedger] = {}
    refused: set[str] = set()
    is_complete = True
    for mesh in _meshes(place):
        with mesh:
            watch.on(f"ListSites through {place.door}")
            for name in _readable_sites(mesh):
                if len(found) >= place.limits.sites or watch.left_s() < _CALL_S:
                    is_complete = False
                    break
                if name not in found:
                    _add_ledger(mesh, place, watch, name, found, refused)
    if not found and not refused:
        return Skipped("no key may read a ledger: set HITMESH_KEY_FILE to a server key with the role read")
    return LedgersFacts(tuple(found.values()), len(refused - set(found)), is_complete)


def _readable_sites(mesh: Mesh) -> Iterator[str]:
    try:
        yield from (site.name for site in sites.list_sites(mesh))
    except grpc.RpcError as error:
        if error.code() not in _REFUSED:
            raise


def _add_ledger(
    mesh: Mesh, place: Place, watch: Watch, name: str, found: dict[str, SiteLedger], refused: set[str]
) -> None:
    watch.on(f"GetLedger of {name}")
    try:
        found[name] = _balanced(mesh, place, watch, name)
    except grpc.RpcError as error:
        if error.code() not in _REFUSED:
            raise
        refused.add(name)


def _balanced(mesh: Mesh, place: Place, watch: Watch, name: str) -> SiteLedger:
    """Return a site's ledger. An imbalance must remain to count, because a hit in transit looks like a lost hit."""
    request = operations_pb2.GetLedgerRequest(site=name)
    ends_s = time.monotonic() + min(place.limits.transit_s, watch.left_s() - _CALL_S)
    while True:
        answer = mesh.operations.GetLedger(request, timeout=watch.left_s(_CALL_S), metadata=mesh.credentials)
        if not answer.imbalance or time.monotonic() > ends_s:
            break
        time.sleep(_PAUSE_S)
    since = answer.unread_since.ToMilliseconds() if answer.HasField("unread_since") else place.clock.now()
    return SiteLedger(name, answer.imbalance, answer.unread_hits, max(0.0, (place.clock.now() - since) / 1000))


def gather_history(place: Place, watch: Watch) -> HistoryFacts | Skipped:
    """Compare the stored values of settled days with the ledger, newest call first, until the deadline."""
    if place.operator_key is None:
        return Skipped("only an operator may check history: set HITMESH_OPERATOR_KEY_FILE")
    days, hits, damaged, is_complete = 0, 0, [], True
    with Mesh.connect(place.operators, place.operator_key) as mesh:
        watch.on(f"CheckHistory through {place.operators}")
        for page in check_history(mesh, pb.CheckHistoryRequest(sites=["merchants/-/sites/-"])):
            days, hits = days + page.site_days, hits + page.hits
            damaged += [_damaged(problem) for problem in page.problems[:_MAX_DAYS]]
            if page.next_page_token and watch.left_s() < _CALL_S:
                is_complete = False
                break
    return HistoryFacts(days, hits, tuple(damaged[:_MAX_DAYS]), is_complete)


def _damaged(problem: pb.HistoryProblem) -> DamagedDay:
    texts = [_difference(each) for each in problem.findings]
    is_lost = bool(problem.lost_hits) and not problem.log_hits
    return DamagedDay(problem.site, date_text_of(problem.utc_date), "; ".join(texts), is_lost)


def _difference(finding: pb.HistoryFinding) -> str:
    store = pb.CheckedStore.Name(finding.store).removeprefix("CHECKED_STORE_").lower()
    if finding.damage:
        return f"{store}: {finding.damage}"
    found = f"{finding.found:,}" if finding.HasField("found") else "none"
    expected = f"{finding.expected:,}" if finding.HasField("expected") else "none"
    return f"{store} {finding.measure} {found} instead of {expected}"
