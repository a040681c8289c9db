"""Calls that misuse filters, errors, keys and generated messages."""

from __future__ import annotations

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.errors import NotFound, RefusedError, RetryError
from hitmesh.model.filters import Comparison
from hitmesh.model.hit_types import HitType
from hitmesh.model.keys import partition_of, visitor_key
from hitmesh.model.reasons import HitFlag
from hitmesh.model.sites import KeyKind


def a_site_secret_is_bytes() -> None:
    visitor_key(b"0" * 32, "visitor", "v-1")
    visitor_key("0" * 32, "visitor", "v-1")  # type: ignore[arg-type]


def partitions_are_computed_for_columns() -> None:
    partition_of(17, 23, 1, 8)  # type: ignore[arg-type]


def a_hit_type_is_one_of_the_thirteen() -> HitType:
    return 1  # type: ignore[return-value]


def flags_and_types_are_not_mixed() -> HitFlag:
    return HitType.ORDER  # type: ignore[return-value]


def a_kind_of_key_is_no_string() -> KeyKind:
    return "server"  # type: ignore[return-value]


def only_a_retry_error_has_a_delay(error: RefusedError, retry: RetryError) -> None:
    max(retry.retry_after_s, 1.0)
    _ = error.retry_after_s  # type: ignore[attr-defined]


def an_error_requires_a_message() -> None:
    raise NotFound(field="site")  # type: ignore[call-arg]


def a_filter_is_frozen(comparison: Comparison) -> None:
    comparison.dimension = "channel"  # type: ignore[misc]


def messages_know_their_fields() -> None:
    hit_pb2.Hit(hit_id="h-1", type=hit_pb2.HIT_TYPE_PAGE_VIEW)
    hit_pb2.Hit(hitid="h-1")  # type: ignore[call-arg]
    collector_pb2.StreamOpen(resume_from="41")  # type: ignore[arg-type]
