"""Gathers facts about all sites: freshness, ledgers, and the check of settled days."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import grpc
from google.type.date_pb2 import Date

from hitmesh.api.control.v1 import operations_pb2
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.api.reporter.v1 import reporter_pb2
from hitmesh.client import sites
from hitmesh.client.mesh import Mesh
from hitmesh.client.reprocessing import check_history
from hitmesh.model.dates import date_message, date_text_of
from hitmesh.tools.doctor.facts import DamagedDay, FreshnessFacts, HistoryFacts, LedgersFacts, SiteLedger
from hitmesh.tools.doctor.findings import Skipped
from hitmesh.tools.doctor.gather_hits import CALL_S, REFUSED, SITE, canary_access
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch

_PAUSE_S: Final = 1.0
_MAX_DAYS: Final = 20


def gather_freshness(place: Place, watch: Watch) -> FreshnessFacts | Skipped:
    """Read the freshness of a site that a known key may read; freshness concerns all partitions of the mesh."""
    for mesh in _meshes(place):
        with mesh:
            watch.on(f"ListSites through {place.door}")
            try:
                site = next(sites.list_sites(mesh), None)
            except grpc.RpcError as error:
                if error.code() in REFUSED:
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
    fresh = mesh.reporter.GetFreshness(request, timeout=watch.left_s(CALL_S), metadata=mesh.credentials).freshness
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
                if len(found) >= place.limits.sites or watch.left_s() < CALL_S:
                    is_complete = False
                    break
                if name not in found:
                    _add_ledger(mesh, place, watch, name, found, refused)
    if not found and place.operator_key is not None:
        with canary_access(place, watch) as mesh:  # an operator may read the canary's ledger, if no merchant's
            _add_ledger(mesh, place, watch, SITE, found, refused)
    if not found and not refused:
        return Skipped("no key may read a ledger: set HITMESH_OPERATOR_KEY_FILE or HITMESH_KEY_FILE")
    return LedgersFacts(tuple(found.values()), len(refused - set(found)), is_complete)


def _readable_sites(mesh: Mesh) -> Iterator[str]:
    try:
        yield from (site.name for site in sites.list_sites(mesh))
    except grpc.RpcError as error:
        if error.code() not in REFUSED:
            raise


def _add_ledger(
    mesh: Mesh, place: Place, watch: Watch, name: str, found: dict[str, SiteLedger], refused: set[str]
) -> None:
    watch.on(f"GetLedger of {name}")
    try:
        found[name] = _balanced(mesh, place, watch, name)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return  # the site was deleted after it was listed
        if error.code() not in REFUSED:
            raise
        refused.add(name)


def _balanced(mesh: Mesh, place: Place, watch: Watch, name: str) -> SiteLedger:
    """Return a site's ledger. An imbalance must remain to count, because a hit in transit looks like a lost hit."""
    request = operations_pb2.GetLedgerRequest(site=name)
    ends_s = time.monotonic() + min(place.limits.transit_s, watch.left_s() - CALL_S)
    while True:
        answer = mesh.operations.GetLedger(request, timeout=watch.left_s(CALL_S), metadata=mesh.credentials)
        if not answer.imbalance or time.monotonic() > ends_s:
            break
        time.sleep(_PAUSE_S)
    since = answer.unread_since.ToMilliseconds() if answer.HasField("unread_since") else place.clock.now()
    return SiteLedger(name, answer.imbalance, answer.unread_hits, max(0.0, (place.clock.now() - since) / 1000))


def gather_history(place: Place, watch: Watch) -> HistoryFacts | Skipped:
    """Compare the stored values of recently settled days with the ledger.

    The check reads raw hits, so a run reads the first `Limits.history_pages` pages, and fewer if the deadline comes.
    `hitmesh reprocess check` reads all days.
    """
    if place.operator_key is None:
        return Skipped("only an operator may check history: set HITMESH_OPERATOR_KEY_FILE")
    days, hits, damaged, is_complete = 0, 0, [], True
    request = pb.CheckHistoryRequest(sites=["merchants/-/sites/-"])
    request.first_utc_date.CopyFrom(_first_date(place))
    with Mesh.connect(place.operators, place.operator_key) as mesh:
        watch.on(f"CheckHistory through {place.operators}")
        for read, page in enumerate(check_history(mesh, request), 1):
            days, hits = days + page.site_days, hits + page.hits
            damaged += [_damaged(problem) for problem in page.problems[:_MAX_DAYS]]
            if page.next_page_token and (read >= place.limits.history_pages or watch.left_s() < CALL_S):
                is_complete = False
                break
    return HistoryFacts(days, hits, tuple(damaged[:_MAX_DAYS]), is_complete)


def _first_date(place: Place) -> Date:
    today = datetime.fromtimestamp(place.clock.now() / 1000, UTC).date()
    return date_message(today - timedelta(days=place.limits.history_days))


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
