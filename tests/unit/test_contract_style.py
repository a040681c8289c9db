"""Test the style of the contract (decision 0064): dates, field behaviour, resources and REST paths."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor

from hitmesh.api.collector.v1 import collector_pb2, json_pb2
from hitmesh.api.control.v1 import (
    admin_pb2,
    merchants_pb2,
    operations_pb2,
    rejected_hits_pb2,
    reprocessing_pb2,
    retired_pb2,
    rules_pb2,
    trace_pb2,
)
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2

FILES = [
    module.DESCRIPTOR
    for module in (
        collector_pb2,
        json_pb2,
        admin_pb2,
        merchants_pb2,
        operations_pb2,
        reprocessing_pb2,
        rejected_hits_pb2,
        retired_pb2,
        rules_pb2,
        trace_pb2,
        hit_pb2,
        export_pb2,
        reporter_pb2,
    )
]
DATE_NAMES = {"first_date", "last_date", "first_utc_date", "last_utc_date", "utc_date", "open_utc_dates"}
DATE_NAMES |= {"last_following_utc_date", "utc_dates"}
# The dates of an export are texts, because people write the dates into URLs.
TEXT_DATES = {"ExportReportRequest.first_date", "ExportReportRequest.last_date"}
RESOURCE = re.compile(
    r"\{(?:parent|name|site|site\.name|key\.name)="
    r"(?:merchants/\*(?:/(?:sites|ingestKeys)/\*(?:/exclusionRules/\*)?)?(?:/quota)?|(?:reprocessings|rejectedHits)/\*)\}"
)
# A path begins with a noun or the name of a resource (`{}`). The path may then have the name of a collection. The path
# may end with a colon and a verb.
PATH = re.compile(r"/v1/(?:\{\}|[a-z][A-Za-z]+)(?:/[a-z][A-Za-z]+)?(?::[a-z][A-Za-z]+)?")
VERBS = {"send", "runReport", "explainReport", "export", "traceHit", "revoke", "markReplayed", "scheduleVisitPolicy"}
VERBS |= {"run", "publish", "rollback", "cancel", "check"}  # of reprocessings
VERBS |= {"exchangeBootstrapToken", "undelete", "delete", "rotate"}


def fields_of(files: list[FileDescriptor]) -> Iterator[FieldDescriptor]:
    for file in files:
        for message in file.message_types_by_name.values():
            yield from message.fields


def methods() -> Iterator[MethodDescriptor]:
    for file in FILES:
        for service in file.services_by_name.values():
            yield from service.methods


def of_requests() -> Iterator[FieldDescriptor]:
    for method in methods():
        if method.input_type.name.endswith("Request") and not method.client_streaming:
            yield from method.input_type.fields


def name_of(field: FieldDescriptor) -> str:
    return ".".join(field.full_name.split(".")[-2:])


def test_a_calendar_date_has_the_date_type_and_a_listed_name() -> None:
    for field in fields_of(FILES):
        is_date = field.message_type is not None and field.message_type.full_name == "google.type.Date"
        assert is_date == (field.name in DATE_NAMES and name_of(field) not in TEXT_DATES), name_of(field)
        assert field.name not in ("since", "until", "date"), name_of(field)


@pytest.mark.parametrize("field", list(of_requests()), ids=name_of)
def test_every_field_of_a_request_is_marked_required_or_optional(field: FieldDescriptor) -> None:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    assert set(behaviors) & {field_behavior_pb2.REQUIRED, field_behavior_pb2.OPTIONAL}


def test_fields_with_the_name_of_a_resource_refer_to_the_resource() -> None:
    for field in of_requests():
        if field.name in ("site", "parent", "name") and field.message_type is None:
            reference = field.GetOptions().Extensions[resource_pb2.resource_reference]
            assert (reference.type or reference.child_type).startswith("hitmesh.dev/"), name_of(field)


def test_merchants_sites_keys_reprocessings_and_rejected_hits_are_resources() -> None:
    messages = (
        merchants_pb2.Merchant.DESCRIPTOR,
        admin_pb2.Site.DESCRIPTOR,
        admin_pb2.IngestKey.DESCRIPTOR,
        reprocessing_pb2.Reprocessing.DESCRIPTOR,
        rejected_hits_pb2.RejectedHit.DESCRIPTOR,
        rules_pb2.ExclusionRule.DESCRIPTOR,
    )
    resources = [message.GetOptions().Extensions[resource_pb2.resource] for message in messages]
    assert {resource.type: list(resource.pattern) for resource in resources} == {
        "hitmesh.dev/Merchant": ["merchants/{merchant}"],
        "hitmesh.dev/Site": ["merchants/{merchant}/sites/{site}"],
        "hitmesh.dev/IngestKey": ["merchants/{merchant}/ingestKeys/{ingest_key}"],
        "hitmesh.dev/Reprocessing": ["reprocessings/{reprocessing}"],
        "hitmesh.dev/RejectedHit": ["rejectedHits/{rejected_hit}"],
        "hitmesh.dev/ExclusionRule": ["merchants/{merchant}/sites/{site}/exclusionRules/{exclusion_rule}"],
    }


def test_a_path_is_made_of_nouns_and_at_most_a_verb() -> None:
    for method in methods():
        rule = method.GetOptions().Extensions[annotations_pb2.http]
        for binding in (rule, *rule.additional_bindings):
            kind = binding.WhichOneof("pattern")
            if kind is not None:
                path = RESOURCE.sub("{}", getattr(binding, kind))
                assert PATH.fullmatch(path), path
                assert path.partition(":")[2] in (*VERBS, ""), path
