"""Translate Kafka client errors into hitmesh.model.errors; the type of an error tells the caller how to react.

librdkafka marks transaction errors as retriable, abortable or fatal; unmarked errors count as fatal. After a time-out
the outcome of a call is unknown.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from hitmesh.model.errors import CommitInDoubt, FatalError, Fenced, HitmeshError, PartitionsMoved, Unavailable

_FENCED: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)
_MOVED: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,
    }
)
_BUGS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_REQUEST,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._INVALID_ARG,
        KafkaError._STATE,
    }
)
RETRY_S: Final = 1.0


def error_of(exception: KafkaException) -> KafkaError:
    """Return the KafkaError inside an exception."""
    error: KafkaError = exception.args[0]
    return error


def unavailable(error: KafkaError | KafkaException, doing: str) -> HitmeshError:
    """Return the error for a call outside a transaction; transient failures become Unavailable."""
    found = error_of(error) if isinstance(error, KafkaException) else error
    if found.code() in _FENCED:
        return Fenced(
            f"the {doing} was rejected by Kafka ({found.name()}), because another process took over this process's "
            "transactional id; give each processor a different HITMESH_PROCESSOR_NODE"
        )
    if _is_member_fenced(found):
        # Either another process has this instance's name, or this client joined the group a second time while Kafka was
        # unavailable. Before a caller opens a new reader, the caller must make sure that no newer writer exists.
        return Unavailable(
            f"the {doing} was rejected by Kafka ({found.name()}), because another member took over this reader's "
            "place in the consumer group",
            retry_after_s=RETRY_S,
            call=doing,
            cause=found.name(),
        )
    if found.code() in _MOVED:
        return _moved(found, doing)
    if found.code() in _BUGS:
        return FatalError(
            f"the {doing} was rejected by Kafka's client or broker ({found.name()}: {found.str()}); a retry cannot "
            "succeed, so report this error as a bug",
            call=doing,
            cause=found.name(),
        )
    return Unavailable(
        f"the {doing} failed in Kafka ({found.name()}: {found.str()}); try again",
        retry_after_s=RETRY_S,
        call=doing,
        cause=found.name(),
    )


def of_transaction(error: KafkaError, doing: str) -> HitmeshError:
    """Return the error for a failed transaction; the error is Unavailable if Kafka aborted the transaction."""
    if error.code() in _FENCED:
        return Fenced(f"the {doing} was rejected by Kafka ({error.name()}), because a later writer took over")
    if error.code() in _MOVED or _is_member_fenced(error):
        return _moved(error, doing)
    if error.txn_requires_abort():
        return Unavailable(
            f"the {doing} was aborted by Kafka ({error.name()}: {error.str()}); nothing was written, so try again",
            retry_after_s=RETRY_S,
            call=doing,
            cause=error.name(),
        )
    return CommitInDoubt(
        f"the outcome of the {doing} in Kafka is unknown ({error.name()}: {error.str()})",
        retry_after_s=RETRY_S,
        call=doing,
        cause=error.name(),
    )


def _is_member_fenced(error: KafkaError) -> bool:
    """Return whether another client took over the member's name.

    A consumer may report this error with the generic code `_FATAL`.
    """
    return error.code() == KafkaError.FENCED_INSTANCE_ID or (
        error.code() == KafkaError._FATAL and "group.instance.id" in error.str()
    )


def _moved(error: KafkaError, doing: str) -> PartitionsMoved:
    return PartitionsMoved(
        f"the {doing} was rejected by Kafka ({error.name()}), because partitions moved to another reader",
        retry_after_s=0.1,
    )
