"""A small server that acts as a mesh in tests of the client.

Streams follow a script; sites and reports are plain dicts.

The server implements only the contract's messages. The meaning of the messages is covered by tests with the real
services.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.api import httpbody_pb2
from google.protobuf.message import Message
from google.type.date_pb2 import Date

from hitmesh.api.collector.v1 import collector_pb2 as pb
from hitmesh.api.collector.v1 import collector_pb2_grpc
from hitmesh.api.control.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    merchants_pb2,
    operations_pb2,
    operations_pb2_grpc,
    quotas_pb2,
    rules_pb2,
    trace_pb2,
    trace_pb2_grpc,
)
from hitmesh.api.reporter.v1 import export_pb2, export_pb2_grpc, reporter_pb2, reporter_pb2_grpc

KEY = "secret"
LOG = "hits-1"
CREDIT_BYTES = 1 << 20

Requests = Iterator[pb.StreamHitsRequest]
Responses = Iterator[pb.StreamHitsResponse]
Script = Callable[[Requests, grpc.ServicerContext], Responses]


def ready(acked_through: int = 0, credit_bytes: int = CREDIT_BYTES) -> pb.StreamHitsResponse:
    return pb.StreamHitsResponse(ready=pb.StreamReady(acked_through=acked_through, credit_bytes=credit_bytes))


def ack(through: int, *issues: pb.HitIssue, offset: int | None = None) -> pb.StreamHitsResponse:
    receipts = [pb.Receipt(batch_seq=through, topic="hits", log=LOG, offset=through if offset is None else offset)]
    return pb.StreamHitsResponse(ack=pb.Ack(acked_through=through, issues=issues, receipts=receipts))


def credit(freed_bytes: int) -> pb.StreamHitsResponse:
    return pb.StreamHitsResponse(credit=pb.Credit(bytes=freed_bytes))


def issue(
    batch_seq: int,
    index: int | None,
    outcome: pb.Outcome.ValueType,
    reason: pb.Reason.ValueType = pb.REASON_INVALID_FIELD,
) -> pb.HitIssue:
    return pb.HitIssue(batch_seq=batch_seq, index=index, outcome=outcome, reason=reason, message="because")


@dataclass
class ScriptedMesh(
    collector_pb2_grpc.CollectorServiceServicer,
    admin_pb2_grpc.AdminServiceServicer,
    reporter_pb2_grpc.ReporterServiceServicer,
    export_pb2_grpc.ExportServiceServicer,
    operations_pb2_grpc.OperationsServiceServicer,
    trace_pb2_grpc.TraceServiceServicer,
):
    """A mesh whose streams follow `scripts`, one script per stream. A stream without a script accepts every hit.

    The fields contain the messages that the client has sent. GetLedger returns a site's ledgers one after the other,
    and then repeats the last ledger. If a site has no ledgers, the ledger's only day, 2015-05-17, has every received
    hit; the hits of the visitors in `erased` count as erased.
    """

    scripts: list[Script] = field(default_factory=list)
    sites: dict[str, admin_pb2.Site] = field(default_factory=dict)
    exports: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""
    opens: list[pb.StreamOpen] = field(default_factory=list)
    stream_sites: list[str] = field(default_factory=list)
    batches: list[pb.SequencedBatch] = field(default_factory=list)
    batch_sites: list[str] = field(default_factory=list)
    sent: list[pb.SendHitsRequest] = field(default_factory=list)
    export_requests: list[export_pb2.ExportReportRequest] = field(default_factory=list)
    stored: set[tuple[str, str, str]] = field(default_factory=set)
    copies: int = 0
    erased: set[str] = field(default_factory=set)
    polls_until_visible: int = 0
    warnings: tuple[str, ...] = ()
    cut_buckets: tuple[str, ...] = ()
    open_reads: bool = False
    ledgers: dict[str, list[operations_pb2.GetLedgerResponse]] = field(default_factory=dict)
    siteless: operations_pb2.LedgerTotals | None = None
    drifts: dict[str, operations_pb2.GetDriftResponse] = field(default_factory=dict)
    traces: dict[str, trace_pb2.TraceHitResponse] = field(default_factory=dict)
    ahead: list[reporter_pb2.PartitionAhead] = field(default_factory=list)
    questions: list[Message] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def StreamHits(self, request_iterator: Requests, context: grpc.ServicerContext) -> Responses:
        site = dict(context.invocation_metadata())["hitmesh-site"]
        opening = next(request_iterator)
        with self._lock:
            self.opens.append(opening.open)
            self.stream_sites.append(str(site))
            script = self.scripts.pop(0) if self.scripts else self.take_everything
        yield from script(request_iterator, context)

    def take_everything(self, requests: Requests, context: grpc.ServicerContext) -> Responses:
        yield ready(self.opens[-1].resume_from)
        for request in requests:
            self.take(request)
            yield ack(request.batch.batch_seq)
            yield credit(request.ByteSize())

    def take(self, request: pb.StreamHitsRequest) -> int:
        """Store the batch of a request, and return the batch's number."""
        with self._lock:
            self.batches.append(request.batch)
            self.batch_sites.append(self.stream_sites[-1])
            for hit in request.batch.batch.hits:
                identity = (self.stream_sites[-1], hit.visitor_id, hit.hit_id)
                self.copies += identity in self.stored
                self.stored.add(identity)
        return request.batch.batch_seq

    def SendHits(self, request: pb.SendHitsRequest, context: grpc.ServicerContext) -> pb.SendHitsResponse:
        self.sent.append(request)
        if "refuse" in request.batch.hits[0].page_view.url:
            return pb.SendHitsResponse(issues=[issue(0, 0, pb.OUTCOME_REJECTED)], rejected_count=1)
        receipt = pb.Receipt(topic="hits", log=LOG, partition=3, offset=12)
        return pb.SendHitsResponse(receipts=[receipt], accepted_count=1)

    def GetSite(self, request: admin_pb2.GetSiteRequest, context: grpc.ServicerContext) -> admin_pb2.GetSiteResponse:
        self._may_read(context)
        if request.name not in self.sites:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no site {request.name}")
        return admin_pb2.GetSiteResponse(site=self.sites[request.name])

    def CreateSite(
        self, request: admin_pb2.CreateSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateSiteResponse:
        self._known(context)
        site = request.site
        site.name = f"{request.parent}/sites/{request.site_id}"
        self.sites[site.name] = site
        return admin_pb2.CreateSiteResponse(site=site)

    def ListSites(
        self, request: admin_pb2.ListSitesRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListSitesResponse:
        """Return one site per page, so that clients must follow the page token."""
        self._may_read(context)
        names = sorted(self.sites)
        at = int(request.page_token or 0)
        following = str(at + 1) if at + 1 < len(names) else ""
        return admin_pb2.ListSitesResponse(
            sites=[self.sites[name] for name in names[at : at + 1]], next_page_token=following
        )

    def GetFreshness(
        self, request: reporter_pb2.GetFreshnessRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.GetFreshnessResponse:
        if self.polls_until_visible:
            self.polls_until_visible -= 1
            return reporter_pb2.GetFreshnessResponse(dirty_days=1)
        progress = reporter_pb2.PartitionProgress(log=LOG, partition=0, next_offset=1_000_000)
        fresh = reporter_pb2.Freshness(state=reporter_pb2.FRESHNESS_STATE_LIVE, ahead=self.ahead)
        return reporter_pb2.GetFreshnessResponse(freshness=fresh, partitions=[progress], data_version="v1")

    def RunReport(
        self, request: reporter_pb2.RunReportRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.RunReportResponse:
        counts = {"hits": sum(site == request.site for site, _, _ in self.stored), "duplicate_hits": self.copies}
        cells = [reporter_pb2.Cell(int64_value=counts[metric]) for metric in request.metrics]
        return reporter_pb2.RunReportResponse(rows=[reporter_pb2.Row(cells=cells)])

    def ExportReport(
        self, request: export_pb2.ExportReportRequest, context: grpc.ServicerContext
    ) -> Iterator[httpbody_pb2.HttpBody]:
        """Return a file in two pieces, so that clients must join them."""
        self.export_requests.append(request)
        cut = (("x-hitmesh-partial", ",".join(self.cut_buckets)),) if self.cut_buckets else ()
        context.send_initial_metadata((*(("x-hitmesh-warning", text) for text in self.warnings), *cut))
        if request.site not in self.sites:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no site {request.site}")
        file = self.exports[request.format]
        for piece in (file[: len(file) // 2], file[len(file) // 2 :]):
            yield httpbody_pb2.HttpBody(data=piece)

    def GetLedger(
        self, request: operations_pb2.GetLedgerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetLedgerResponse:
        self.questions.append(request)
        waiting = self.ledgers.get(request.site, [])
        if not waiting:
            return self._ledger_of_received(request.site)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def _ledger_of_received(self, site: str) -> operations_pb2.GetLedgerResponse:
        with self._lock:
            hits = [
                hit
                for name, sent in zip(self.batch_sites, self.batches, strict=True)
                if name == site
                for hit in sent.batch.hits
            ]
        if not hits:
            return operations_pb2.GetLedgerResponse(site=site)
        day = operations_pb2.LedgerDay(
            utc_date=Date(year=2015, month=5, day=17),
            accepted=operations_pb2.LedgerCount(hits=len(hits)),
            erased=sum(hit.visitor_id in self.erased for hit in hits),
        )
        return operations_pb2.GetLedgerResponse(site=site, days=[day])

    def GetSitelessLedger(
        self, request: operations_pb2.GetSitelessLedgerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetSitelessLedgerResponse:
        if self.siteless is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "hits without a site belong to no merchant")
        return operations_pb2.GetSitelessLedgerResponse(totals=self.siteless)

    def GetDrift(
        self, request: operations_pb2.GetDriftRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetDriftResponse:
        self.questions.append(request)
        return self.drifts.get(request.site, operations_pb2.GetDriftResponse(site=request.site))

    def TraceHit(self, request: trace_pb2.TraceHitRequest, context: grpc.ServicerContext) -> trace_pb2.TraceHitResponse:
        self.questions.append(request)
        id_ = request.hit_id or f"order {request.order_id}" if not request.batch_id else f"batch {request.batch_id}"
        if id_ not in self.traces:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{id_!r} is not known")
        return self.traces[id_]

    def ScheduleVisitPolicy(
        self, request: admin_pb2.ScheduleVisitPolicyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ScheduleVisitPolicyResponse:
        raise NotImplementedError

    def CreateIngestKey(
        self, request: admin_pb2.CreateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateIngestKeyResponse:
        raise NotImplementedError

    def GetIngestKey(
        self, request: admin_pb2.GetIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.GetIngestKeyResponse:
        raise NotImplementedError

    def ListIngestKeys(
        self, request: admin_pb2.ListIngestKeysRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListIngestKeysResponse:
        raise NotImplementedError

    def UpdateIngestKey(
        self, request: admin_pb2.UpdateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UpdateIngestKeyResponse:
        raise NotImplementedError

    def DeleteIngestKey(
        self, request: admin_pb2.DeleteIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.DeleteIngestKeyResponse:
        raise NotImplementedError

    def RotateIngestKey(
        self, request: admin_pb2.RotateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RotateIngestKeyResponse:
        raise NotImplementedError

    def RevokeIngestKey(
        self, request: admin_pb2.RevokeIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RevokeIngestKeyResponse:
        raise NotImplementedError

    def UpdateSite(
        self, request: admin_pb2.UpdateSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UpdateSiteResponse:
        raise NotImplementedError

    def DeleteSite(
        self, request: admin_pb2.DeleteSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.DeleteSiteResponse:
        raise NotImplementedError

    def UndeleteSite(
        self, request: admin_pb2.UndeleteSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UndeleteSiteResponse:
        raise NotImplementedError

    def CreateMerchant(
        self, request: merchants_pb2.CreateMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.CreateMerchantResponse:
        raise NotImplementedError

    def GetMerchant(
        self, request: merchants_pb2.GetMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.GetMerchantResponse:
        raise NotImplementedError

    def ListMerchants(
        self, request: merchants_pb2.ListMerchantsRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.ListMerchantsResponse:
        raise NotImplementedError

    def UpdateMerchant(
        self, request: merchants_pb2.UpdateMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.UpdateMerchantResponse:
        raise NotImplementedError

    def DeleteMerchant(
        self, request: merchants_pb2.DeleteMerchantRequest, context: grpc.ServicerContext
    ) -> merchants_pb2.DeleteMerchantResponse:
        raise NotImplementedError

    def CreateExclusionRule(
        self, request: rules_pb2.CreateExclusionRuleRequest, context: grpc.ServicerContext
    ) -> rules_pb2.CreateExclusionRuleResponse:
        raise NotImplementedError

    def ListExclusionRules(
        self, request: rules_pb2.ListExclusionRulesRequest, context: grpc.ServicerContext
    ) -> rules_pb2.ListExclusionRulesResponse:
        raise NotImplementedError

    def DeleteExclusionRule(
        self, request: rules_pb2.DeleteExclusionRuleRequest, context: grpc.ServicerContext
    ) -> rules_pb2.DeleteExclusionRuleResponse:
        raise NotImplementedError

    def GetQuota(
        self, request: quotas_pb2.GetQuotaRequest, context: grpc.ServicerContext
    ) -> quotas_pb2.GetQuotaResponse:
        raise NotImplementedError

    def UpdateQuota(
        self, request: quotas_pb2.UpdateQuotaRequest, context: grpc.ServicerContext
    ) -> quotas_pb2.UpdateQuotaResponse:
        raise NotImplementedError

    def ExchangeBootstrapToken(
        self, request: admin_pb2.ExchangeBootstrapTokenRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ExchangeBootstrapTokenResponse:
        raise NotImplementedError

    def ExplainReport(
        self, request: reporter_pb2.ExplainReportRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ExplainReportResponse:
        raise NotImplementedError

    def ListMetrics(
        self, request: reporter_pb2.ListMetricsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListMetricsResponse:
        scopes = {"hits": reporter_pb2.METRIC_SCOPE_HIT, "visits": reporter_pb2.METRIC_SCOPE_VISIT}
        metrics = [reporter_pb2.Metric(id=name, scope=scope) for name, scope in scopes.items()]
        return reporter_pb2.ListMetricsResponse(metrics=metrics)

    def ListDimensions(
        self, request: reporter_pb2.ListDimensionsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListDimensionsResponse:
        raise NotImplementedError

    def _may_read(self, context: grpc.ServicerContext) -> None:
        if not self.open_reads:
            self._known(context)

    def _known(self, context: grpc.ServicerContext) -> None:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {KEY}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the key is not known")


@contextmanager
def running(mesh: ScriptedMesh) -> Iterator[ScriptedMesh]:
    """Serve the mesh on a free port."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    collector_pb2_grpc.add_CollectorServiceServicer_to_server(mesh, server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(mesh, server)
    reporter_pb2_grpc.add_ReporterServiceServicer_to_server(mesh, server)
    export_pb2_grpc.add_ExportServiceServicer_to_server(mesh, server)
    operations_pb2_grpc.add_OperationsServiceServicer_to_server(mesh, server)
    trace_pb2_grpc.add_TraceServiceServicer_to_server(mesh, server)
    mesh.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield mesh
    finally:
        server.stop(None).wait()
