"""Test that the product's lists of reasons equal the contract's lists, and that a gRPC status contains the reason."""

from __future__ import annotations

from google.rpc import code_pb2, error_details_pb2

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.error.v1 import error_reason_pb2
from hitmesh.model.errors import MAX_VARIABLE_CHARS, Fenced, NotFound, RefusedError
from hitmesh.model.reasons import ErrorReason, HitReason, LocalReason
from hitmesh.runtime.rpc_errors import status_of

LAST_KEY_CHARS = 63  # google.rpc.ErrorInfo: a reason has at most 63 characters


def info_of(error: RefusedError | Fenced) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo in the gRPC status of an error."""
    info = error_details_pb2.ErrorInfo()
    assert status_of(error).details[0].Unpack(info)
    return info


def test_reasons_of_errors_are_those_of_the_contract() -> None:
    contract = {value.name for value in error_reason_pb2.ErrorReason.DESCRIPTOR.values if value.number}
    assert {f"ERROR_REASON_{reason}" for reason in ErrorReason} == contract


def test_reasons_of_hits_are_those_of_the_contract() -> None:
    contract = {value.name for value in collector_pb2.Reason.DESCRIPTOR.values if value.number}
    assert {f"REASON_{reason}" for reason in HitReason} == contract


def test_names_equal_values_and_a_local_reason_is_no_reason_of_an_rpc() -> None:
    for kind in (HitReason, ErrorReason, LocalReason):
        assert [reason.name for reason in kind] == [reason.value for reason in kind]
        assert all(len(reason) <= LAST_KEY_CHARS for reason in kind)
    assert not set(ErrorReason) & set(LocalReason)


def test_a_status_carries_the_variables_of_its_message() -> None:
    status = status_of(
        RefusedError("2.5 of 7 is wrong", field="limit", reason=ErrorReason.TOO_MANY_ROWS, rows=2.5, max_rows=7)
    )
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("TOO_MANY_ROWS", "hitmesh.dev")
    assert dict(info.metadata) == {"field": "limit", "rows": "2.5", "max_rows": "7"}


def test_a_long_variable_is_cut() -> None:
    info = info_of(NotFound("there is no such site", name="x" * 10_000))
    assert info.metadata["name"] == "x" * MAX_VARIABLE_CHARS


def test_a_local_reason_leaves_a_server_as_internal() -> None:
    assert info_of(Fenced("writer 3 took over")).reason == "INTERNAL"
    assert status_of(Fenced("writer 3 took over")).code == code_pb2.INTERNAL
