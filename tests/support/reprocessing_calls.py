"""Call ReprocessingService as operators do, and create settled days that a reprocessing can change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.sites import SiteDay
from tests.support.dates import a_date
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import a_ledger
from tests.support.reporters import NOW, OPERATOR, Mesh, bearer
from tests.support.settled_rows import SITE

RIVAL_SITE = "merchants/rival/sites/shop"
BLOG = "merchants/demo/sites/blog"
# The following day, 2015-05-17 (UTC_DAY), is the first day that is not closed.
LAST_CLOSED = "2015-05-16"


def settle(mesh: Mesh, site: str, day: int, hits: int) -> None:
    """Publish a site-day with `hits` accepted hits."""
    publish_day(mesh.stores.generations, SiteDay(site, day), NOW, a_ledger(hits))


def wanted(*sites: str, **fields: object) -> pb.Reprocessing:
    """Return the reprocessing of a request: kind LOGIC, on the last two closed days."""
    values: dict[str, object] = {
        "sites": sites or (SITE,),
        "kind": pb.REPROCESSING_KIND_LOGIC,
        "first_utc_date": a_date("2015-05-15"),
        "last_utc_date": a_date(LAST_CLOSED),
    }
    return pb.Reprocessing(**(values | fields))  # type: ignore[arg-type]  # protobuf checks the fields


def create(mesh: Mesh, *sites: str, secret: str | None = OPERATOR, **fields: object) -> pb.Reprocessing:
    validate_only = bool(fields.pop("validate_only", False))
    request = pb.CreateReprocessingRequest(reprocessing=wanted(*sites, **fields), validate_only=validate_only)
    return mesh.reprocessings.CreateReprocessing(request, metadata=bearer(secret) if secret else None).reprocessing


def get(mesh: Mesh, name: str) -> pb.Reprocessing:
    return mesh.reprocessings.GetReprocessing(
        pb.GetReprocessingRequest(name=name), metadata=bearer(OPERATOR)
    ).reprocessing


def run(mesh: Mesh, name: str) -> pb.Reprocessing:
    return mesh.reprocessings.RunReprocessing(
        pb.RunReprocessingRequest(name=name), metadata=bearer(OPERATOR)
    ).reprocessing


def variables(call: Callable[[], object]) -> Mapping[str, str]:
    """Make a call that must be refused, and return the metadata of its ErrorInfo."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # the error of a call is that call
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return dict(info.metadata)
