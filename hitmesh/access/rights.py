"""The table of rights: for each RPC, the role that a caller needs, and the listener of Envoy that serves the RPC.

An RPC without a rule is refused. hitmesh.access.checks applies the rules, and hitmesh.tools.dev.envoy builds Envoy's
routes from the table. REST calls follow the rule of their RPC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from hitmesh.model.sites import Role


class Door(StrEnum):
    """A listener of Envoy.

    PUBLIC: serves merchants, their shops and their edges. OPERATORS: serves all RPCs, and is reachable only from the
    network of the operators. RPCs that operate the mesh are served by OPERATORS only.
    """

    PUBLIC = "public"
    OPERATORS = "operators"


@dataclass(frozen=True, slots=True)
class Rule:
    """The right to call an RPC.

    Attributes:
        role: the role that the caller needs; None if every caller may call, even without a key.
        door: PUBLIC if both listeners serve the RPC, OPERATORS if only the operators' listener serves the RPC.
        fields: paths of the request's fields with the name of a merchant, or of a resource that belongs to a merchant.
            The caller needs the role for the merchant in each field that is set. Without fields, the role is OPERATE,
            or the RPC itself compares the owner of each resource with the caller.
        is_open_read: whether every caller may call while reads are open (`hitmesh dev`).
        is_filtered: whether the RPC leaves out all sites that the caller may not read, so that a key for one site may
            list the sites of its merchant.
        operators_too: whether operators may call for every merchant.
        why: the reason why merchants may not call, as the beginning of an error message. A rule with `operators_too`
            and `why` lets only operators call with empty fields.
    """

    role: Role | None
    door: Door = Door.PUBLIC
    fields: tuple[str, ...] = ()
    is_open_read: bool = False
    is_filtered: bool = False
    operators_too: bool = False
    why: str = ""


def _reads(*fields: str) -> Rule:
    return Rule(Role.READ, fields=fields, is_open_read=True)


def _administers(field: str, *, operators_too: bool = False) -> Rule:
    return Rule(Role.ADMINISTER, fields=(field,), operators_too=operators_too)


def _operates(why: str, *, is_open_read: bool = False) -> Rule:
    return Rule(Role.OPERATE, Door.OPERATORS, is_open_read=is_open_read, why=why)


def _service(name: str, **rules: Rule) -> dict[str, Rule]:
    return {f"/{name}/{method}": rule for method, rule in rules.items()}


_OPEN: Final = Rule(None)
# The collector finds the key in the batch or in the stream's first message (collector.grants, collector.gate).
_SENDS: Final = Rule(Role.SEND)
_CHANGES_MERCHANTS: Final = _operates("merchants are created, changed, deleted and listed by operators only")
_READS_REPROCESSINGS: Final = _operates("reprocessings belong to no merchant", is_open_read=True)
_CHANGES_HISTORY: Final = _operates("a reprocessing changes the history of sites, which only an operator may do")
_READS_SHADOW: Final = _operates("the shadow stream belongs to no merchant", is_open_read=True)
_CHANGES_SHADOW: Final = _operates("a shadow stream changes the reports of all sites, which only an operator may do")
_ADMINISTERS_KEY: Final = _administers("name", operators_too=True)
_REJECTED: Final = Rule(Role.ADMINISTER, operators_too=True)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        **_service("hitmesh.api.collector.v1.CollectorService", SendHits=_SENDS, StreamHits=_SENDS),
        **_service("hitmesh.api.collector.v1.JsonCollectorService", SendJsonHits=_SENDS),
        **_service(
            "hitmesh.api.reporter.v1.ReporterService",
            RunReport=_reads("site"),
            ExplainReport=_reads("site", "report.site"),
            ListMetrics=_OPEN,
            ListDimensions=_OPEN,
            GetFreshness=_reads("site"),
        ),
        **_service("hitmesh.api.reporter.v1.ExportService", ExportReport=_reads("site")),
        **_service(
            "hitmesh.api.control.v1.AdminService",
            CreateSite=_administers("parent"),
            GetSite=_reads("name"),
            ListSites=replace(_reads("parent"), is_filtered=True),
            ScheduleVisitPolicy=_administers("name"),
            # An operator creates the first key of a new merchant, which has no key that could do so.
            CreateIngestKey=_administers("parent", operators_too=True),
            GetIngestKey=_ADMINISTERS_KEY,
            ListIngestKeys=_administers("parent", operators_too=True),
            UpdateIngestKey=_administers("key.name", operators_too=True),
            DeleteIngestKey=_ADMINISTERS_KEY,
            RotateIngestKey=_ADMINISTERS_KEY,
            RevokeIngestKey=_ADMINISTERS_KEY,
            UpdateSite=_administers("site.name", operators_too=True),
            DeleteSite=_administers("name", operators_too=True),
            UndeleteSite=_administers("name", operators_too=True),
            CreateMerchant=_CHANGES_MERCHANTS,
            GetMerchant=replace(_reads("name"), operators_too=True),
            ListMerchants=_CHANGES_MERCHANTS,
            UpdateMerchant=_CHANGES_MERCHANTS,
            DeleteMerchant=_CHANGES_MERCHANTS,
            CreateExclusionRule=_administers("parent", operators_too=True),
            ListExclusionRules=replace(_reads("parent"), operators_too=True),
            DeleteExclusionRule=_administers("name", operators_too=True),
            GetQuota=replace(_reads("name"), operators_too=True),
            UpdateQuota=_operates("quotas protect merchants from each other"),
            # The bootstrap token in the request is the credential.
            ExchangeBootstrapToken=Rule(None, Door.OPERATORS),
        ),
        **_service(
            "hitmesh.api.control.v1.OperationsService",
            GetLedger=_reads("site"),
            GetSitelessLedger=_operates("hits without a site belong to no merchant", is_open_read=True),
            GetDrift=_reads("site"),
        ),
        **_service("hitmesh.api.control.v1.TraceService", TraceHit=_reads("site")),
        # The bytes of rejected hits contain data of visitors that no report shows, so the role READ is not enough.
        **_service(
            "hitmesh.api.control.v1.RejectedHitService",
            ListRejectedHits=replace(
                _REJECTED, fields=("site",), why="rejected hits of all sites, or without a site, belong to no merchant"
            ),
            GetRejectedHit=_REJECTED,
            MarkRejectedHitsReplayed=_REJECTED,
        ),
        **_service(
            "hitmesh.api.control.v1.ReprocessingService",
            CreateReprocessing=_CHANGES_HISTORY,
            GetReprocessing=_READS_REPROCESSINGS,
            ListReprocessings=_READS_REPROCESSINGS,
            RunReprocessing=_CHANGES_HISTORY,
            GetReprocessingDiff=_READS_REPROCESSINGS,
            PublishReprocessing=_CHANGES_HISTORY,
            RollbackReprocessing=_CHANGES_HISTORY,
            CancelReprocessing=_CHANGES_HISTORY,
            ListRetiredGenerations=_READS_REPROCESSINGS,
            CheckHistory=_operates("a check reads raw hits and delays the calls of all merchants"),
        ),
        **_service(
            "hitmesh.api.control.v1.ShadowStreamService",
            StartShadowStream=_CHANGES_SHADOW,
            GetShadowStream=_READS_SHADOW,
            GetShadowStreamDiff=_READS_SHADOW,
            PublishShadowStream=_CHANGES_SHADOW,
            RollbackShadowStream=_CHANGES_SHADOW,
            StopShadowStream=_CHANGES_SHADOW,
        ),
        **_service("grpc.health.v1.Health", Check=_OPEN, List=_OPEN, Watch=_OPEN),
        **_service("grpc.reflection.v1alpha.ServerReflection", ServerReflectionInfo=_OPEN),
    }
)
"""The rule of each RPC, keyed by the RPC's path `/{package}.{service}/{method}`."""


def request_type(path: str) -> str:
    """Return the full name of an RPC's request type; only SendJsonHits has a request type with another name."""
    service, method = path.removeprefix("/").split("/")
    return f"{service.rpartition('.')[0]}.{method}Request"


_BY_REQUEST: Final = {request_type(path): rule for path, rule in RULES.items()}


def rule_of(request: str) -> Rule:
    """Return the rule of the RPC with a request type.

    Raises:
        KeyError: no RPC has this request type.
    """
    return _BY_REQUEST[request]


def paths_of(door: Door) -> tuple[str, ...]:
    """Return the paths of all RPCs that have this door in the table, in the order of the table."""
    return tuple(path for path, rule in RULES.items() if rule.door is door)
