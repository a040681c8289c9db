"""The control process's gRPC services: each method identifies the caller, calls control.rpc and translates errors.

`build_server` adds all services to a synchronous server.
"""

from __future__ import annotations

from typing import Final

import grpc

from control.backend import Backend
from control.rpc.admin.create_exclusion_rule import create_exclusion_rule
from control.rpc.admin.create_site import create_site
from control.rpc.admin.delete_exclusion_rule import delete_exclusion_rule
from control.rpc.admin.delete_site import delete_site
from control.rpc.admin.exchange_bootstrap_token import exchange_bootstrap_token
from control.rpc.admin.get_quota import get_quota
from control.rpc.admin.get_site import get_site
from control.rpc.admin.list_exclusion_rules import list_exclusion_rules
from control.rpc.admin.list_sites import list_sites
from control.rpc.admin.schedule_visit_policy import schedule_visit_policy
from control.rpc.admin.undelete_site import undelete_site
from control.rpc.admin.update_quota import update_quota
from control.rpc.admin.update_site import update_site
from control.rpc.operations.get_drift import get_drift
from control.rpc.operations.get_ledger import get_ledger
from control.rpc.operations.get_siteless_ledger import get_siteless_ledger
from control.rpc.rejected.get_rejected_hit import get_rejected_hit
from control.rpc.rejected.list_rejected_hits import list_rejected_hits
from control.rpc.rejected.mark_rejected_hits_replayed import mark_rejected_hits_replayed
from control.rpc.reprocessing.cancel_reprocessing import cancel_reprocessing
from control.rpc.reprocessing.check_history import check_history
from control.rpc.reprocessing.create_reprocessing import create_reprocessing
from control.rpc.reprocessing.get_reprocessing import get_reprocessing
from control.rpc.reprocessing.get_reprocessing_diff import get_reprocessing_diff
from control.rpc.reprocessing.list_reprocessings import list_reprocessings
from control.rpc.reprocessing.list_retired_generations import list_retired_generations
from control.rpc.reprocessing.publish_reprocessing import publish_reprocessing
from control.rpc.reprocessing.rollback_reprocessing import rollback_reprocessing
from control.rpc.reprocessing.run_reprocessing import run_reprocessing
from control.rpc.shadow.get_shadow_stream import get_shadow_stream
from control.rpc.shadow.get_shadow_stream_diff import get_shadow_stream_diff
from control.rpc.shadow.publish_shadow_stream import publish_shadow_stream
from control.rpc.shadow.rollback_shadow_stream import rollback_shadow_stream
from control.rpc.shadow.start_shadow_stream import start_shadow_stream
from control.rpc.shadow.stop_shadow_stream import stop_shadow_stream
from control.service_keys import KeyMethods
from control.service_merchants import MerchantMethods
from control.service_shell import Shell
from control.settings import MAX_CALLS, MAX_CALLS_PER_MERCHANT, MAX_UNKNOWN_CALLS, WORKERS
from hitmesh.access.calls import Calls
from hitmesh.api.control.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    operations_pb2,
    operations_pb2_grpc,
    quotas_pb2,
    rejected_hits_pb2,
    rejected_hits_pb2_grpc,
    reprocessing_pb2,
    reprocessing_pb2_grpc,
    retired_pb2,
    rules_pb2,
    shadow_pb2,
    shadow_pb2_grpc,
)
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.known_callers import KnownCallers
from hitmesh.runtime.lifecycle import new_server
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.registry import CONTROL_STORE_ERRORS
from hitmesh.runtime.tls import ServerTls

# Names for health checks and reflection.
SERVICES: Final = (
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    operations_pb2.DESCRIPTOR.services_by_name["OperationsService"].full_name,
    reprocessing_pb2.DESCRIPTOR.services_by_name["ReprocessingService"].full_name,
    rejected_hits_pb2.DESCRIPTOR.services_by_name["RejectedHitService"].full_name,
    shadow_pb2.DESCRIPTOR.services_by_name["ShadowStreamService"].full_name,
)
MAX_REQUEST_BYTES: Final = 1 << 20
# Maximum time limit of a call in seconds. A call can be abandoned only at a checkpoint. CreateReprocessing,
# GetReprocessingDiff, GetShadowStreamDiff, CheckHistory and ListRejectedHits have checkpoints; other RPCs have none.
CALL_S: Final = 30.0


def build_server(
    backend: Backend,
    metrics: Metrics | None = None,
    *,
    workers: int = WORKERS,
    max_calls: int = MAX_CALLS,
    per_merchant: int = MAX_CALLS_PER_MERCHANT,
    unknown: int = MAX_UNKNOWN_CALLS,
    tls: ServerTls | None = None,
) -> grpc.Server:
    """Return a server with all services; hitmesh.runtime.lifecycle.serve starts the server.

    Args:
        backend: implementations of hitmesh.ports, and settings for the services.
        metrics: meters for calls.
        workers: maximum number of calls that run at once.
        max_calls: maximum number of calls that run or wait; further calls are refused.
        per_merchant: the limit for the calls of a merchant.
        unknown: the limit for calls without a known key or token.
        tls: the peers that may call; None without TLS.
    """
    metrics, callers = metrics or unmeasured(), KnownCallers(open_reads=backend.open_reads)
    pool = CallPool(workers, max_calls, per_merchant=per_merchant, unknown=unknown)
    server, _ = new_server(pool, metrics, max_request_bytes=MAX_REQUEST_BYTES, callers=callers, tls=tls)
    calls = Calls(
        backend.directory,
        metrics,
        CONTROL_STORE_ERRORS,
        CALL_S,
        open_reads=backend.open_reads,
        tokens=backend.tokens,
        clock=backend.clock,
        callers=callers,
    )
    admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(backend, calls), server)
    operations_pb2_grpc.add_OperationsServiceServicer_to_server(OperationsService(backend, calls), server)
    reprocessing_pb2_grpc.add_ReprocessingServiceServicer_to_server(ReprocessingService(backend, calls), server)
    rejected_hits_pb2_grpc.add_RejectedHitServiceServicer_to_server(RejectedHitService(backend, calls), server)
    shadow_pb2_grpc.add_ShadowStreamServiceServicer_to_server(ShadowStreamService(backend, calls), server)
    return server


class AdminService(MerchantMethods, KeyMethods, admin_pb2_grpc.AdminServiceServicer):
    """Manages merchants, sites, keys, exclusion rules and quotas."""

    def CreateSite(
        self, request: admin_pb2.CreateSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateSiteResponse:
        """Create a site."""
        return self._run(create_site, request, context)

    def GetSite(self, request: admin_pb2.GetSiteRequest, context: grpc.ServicerContext) -> admin_pb2.GetSiteResponse:
        """Return a site."""
        return self._run(get_site, request, context)

    def ListSites(
        self, request: admin_pb2.ListSitesRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListSitesResponse:
        """List sites."""
        return self._run(list_sites, request, context)

    def ScheduleVisitPolicy(
        self, request: admin_pb2.ScheduleVisitPolicyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ScheduleVisitPolicyResponse:
        """Change the visit policy from a UTC day on."""
        return self._run(schedule_visit_policy, request, context)

    def UpdateSite(
        self, request: admin_pb2.UpdateSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UpdateSiteResponse:
        """Change a site."""
        return self._run(update_site, request, context)

    def DeleteSite(
        self, request: admin_pb2.DeleteSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.DeleteSiteResponse:
        """Delete a site."""
        return self._run(delete_site, request, context)

    def UndeleteSite(
        self, request: admin_pb2.UndeleteSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.UndeleteSiteResponse:
        """Restore a deleted site."""
        return self._run(undelete_site, request, context)

    def CreateExclusionRule(
        self, request: rules_pb2.CreateExclusionRuleRequest, context: grpc.ServicerContext
    ) -> rules_pb2.CreateExclusionRuleResponse:
        """Create an exclusion rule."""
        return self._run(create_exclusion_rule, request, context)

    def ListExclusionRules(
        self, request: rules_pb2.ListExclusionRulesRequest, context: grpc.ServicerContext
    ) -> rules_pb2.ListExclusionRulesResponse:
        """List a site's exclusion rules."""
        return self._run(list_exclusion_rules, request, context)

    def DeleteExclusionRule(
        self, request: rules_pb2.DeleteExclusionRuleRequest, context: grpc.ServicerContext
    ) -> rules_pb2.DeleteExclusionRuleResponse:
        """Delete an exclusion rule."""
        return self._run(delete_exclusion_rule, request, context)

    def GetQuota(
        self, request: quotas_pb2.GetQuotaRequest, context: grpc.ServicerContext
    ) -> quotas_pb2.GetQuotaResponse:
        """Return a quota and its use."""
        return self._run(get_quota, request, context)

    def UpdateQuota(
        self, request: quotas_pb2.UpdateQuotaRequest, context: grpc.ServicerContext
    ) -> quotas_pb2.UpdateQuotaResponse:
        """Change a quota."""
        return self._run(update_quota, request, context)

    def ExchangeBootstrapToken(
        self, request: admin_pb2.ExchangeBootstrapTokenRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ExchangeBootstrapTokenResponse:
        """Exchange a bootstrap token for an operator's key."""
        return self._run(exchange_bootstrap_token, request, context)


class OperationsService(Shell, operations_pb2_grpc.OperationsServiceServicer):
    """Returns a site's ledger, which accounts for every hit, and a site's drift."""

    def GetLedger(
        self, request: operations_pb2.GetLedgerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetLedgerResponse:
        """Return a site's ledger."""
        return self._run(get_ledger, request, context)

    def GetSitelessLedger(
        self, request: operations_pb2.GetSitelessLedgerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetSitelessLedgerResponse:
        """Return the ledger of hits without a site."""
        return self._run(get_siteless_ledger, request, context)

    def GetDrift(
        self, request: operations_pb2.GetDriftRequest, context: grpc.ServicerContext
    ) -> operations_pb2.GetDriftResponse:
        """Return how settled days differ from the live stream."""
        return self._run(get_drift, request, context)


class ReprocessingService(Shell, reprocessing_pb2_grpc.ReprocessingServiceServicer):
    """Corrects history: stores plans, requests work on reprocessings, and returns differences."""

    def CreateReprocessing(
        self, request: reprocessing_pb2.CreateReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.CreateReprocessingResponse:
        """Store a plan."""
        return self._run_watched(create_reprocessing, request, context)

    def GetReprocessing(
        self, request: reprocessing_pb2.GetReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.GetReprocessingResponse:
        """Return a reprocessing."""
        return self._run(get_reprocessing, request, context)

    def ListReprocessings(
        self, request: reprocessing_pb2.ListReprocessingsRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.ListReprocessingsResponse:
        """List reprocessings."""
        return self._run(list_reprocessings, request, context)

    def RunReprocessing(
        self, request: reprocessing_pb2.RunReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.RunReprocessingResponse:
        """Request that a reprocessing's site-days are recomputed."""
        return self._run(run_reprocessing, request, context)

    def GetReprocessingDiff(
        self, request: reprocessing_pb2.GetReprocessingDiffRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.GetReprocessingDiffResponse:
        """Return how the new generations differ from the old generations."""
        return self._run_watched(get_reprocessing_diff, request, context)

    def PublishReprocessing(
        self, request: reprocessing_pb2.PublishReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.PublishReprocessingResponse:
        """Request that the new generations become current."""
        return self._run(publish_reprocessing, request, context)

    def RollbackReprocessing(
        self, request: reprocessing_pb2.RollbackReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.RollbackReprocessingResponse:
        """Request that the old generations become current again."""
        return self._run(rollback_reprocessing, request, context)

    def CancelReprocessing(
        self, request: reprocessing_pb2.CancelReprocessingRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.CancelReprocessingResponse:
        """Cancel a plan, or request that the new generations are removed."""
        return self._run(cancel_reprocessing, request, context)

    def CheckHistory(
        self, request: reprocessing_pb2.CheckHistoryRequest, context: grpc.ServicerContext
    ) -> reprocessing_pb2.CheckHistoryResponse:
        """Check a page of settled site-days."""
        return self._run_watched(check_history, request, context)

    def ListRetiredGenerations(
        self, request: retired_pb2.ListRetiredGenerationsRequest, context: grpc.ServicerContext
    ) -> retired_pb2.ListRetiredGenerationsResponse:
        """List replaced generations whose rows are not removed yet."""
        return self._run(list_retired_generations, request, context)


class RejectedHitService(Shell, rejected_hits_pb2_grpc.RejectedHitServiceServicer):
    """Lists refused hits, and records which hits were replayed."""

    def ListRejectedHits(
        self, request: rejected_hits_pb2.ListRejectedHitsRequest, context: grpc.ServicerContext
    ) -> rejected_hits_pb2.ListRejectedHitsResponse:
        """List refusals."""
        return self._run_watched(list_rejected_hits, request, context)

    def GetRejectedHit(
        self, request: rejected_hits_pb2.GetRejectedHitRequest, context: grpc.ServicerContext
    ) -> rejected_hits_pb2.GetRejectedHitResponse:
        """Return a refusal."""
        return self._run(get_rejected_hit, request, context)

    def MarkRejectedHitsReplayed(
        self, request: rejected_hits_pb2.MarkRejectedHitsReplayedRequest, context: grpc.ServicerContext
    ) -> rejected_hits_pb2.MarkRejectedHitsReplayedResponse:
        """Record that replays of refused hits were accepted."""
        return self._run(mark_rejected_hits_replayed, request, context)


class ShadowStreamService(Shell, shadow_pb2_grpc.ShadowStreamServiceServicer):
    """Manages the shadow stream, which corrects the days that are not settled yet."""

    def StartShadowStream(
        self, request: shadow_pb2.StartShadowStreamRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.StartShadowStreamResponse:
        """Start the shadow stream."""
        return self._run(start_shadow_stream, request, context)

    def GetShadowStream(
        self, request: shadow_pb2.GetShadowStreamRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.GetShadowStreamResponse:
        """Return the shadow stream."""
        return self._run(get_shadow_stream, request, context)

    def GetShadowStreamDiff(
        self, request: shadow_pb2.GetShadowStreamDiffRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.GetShadowStreamDiffResponse:
        """Return how the shadow stream differs from the live stream."""
        return self._run_watched(get_shadow_stream_diff, request, context)

    def PublishShadowStream(
        self, request: shadow_pb2.PublishShadowStreamRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.PublishShadowStreamResponse:
        """Let reports read the shadow stream."""
        return self._run(publish_shadow_stream, request, context)

    def RollbackShadowStream(
        self, request: shadow_pb2.RollbackShadowStreamRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.RollbackShadowStreamResponse:
        """Let reports read the live stream again."""
        return self._run(rollback_shadow_stream, request, context)

    def StopShadowStream(
        self, request: shadow_pb2.StopShadowStreamRequest, context: grpc.ServicerContext
    ) -> shadow_pb2.StopShadowStreamResponse:
        """End the parallel run of the live stream and the shadow stream."""
        return self._run(stop_shadow_stream, request, context)
