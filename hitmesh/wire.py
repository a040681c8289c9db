"""Protobuf bytes → Arrow columns (step 2 of the journey). The only module that knows the decoder, ptars.

Decides how many messages become one table, and which of them are at fault when they do not; refuses to know what a
message means. Strings are checked to be UTF-8. As in protobuf, an unknown field or one of another wire type is skipped,
and of several values of a field the last counts. Unlike protobuf, a `oneof` keeps all fields that were sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor

# Milliseconds everywhere; the decoder saturates at the ends of int64 instead of failing.
_SETTINGS = ptars.PtarsConfig(timestamp_unit="ms", timestamp_tz=None)


class Undecodable(ValueError):
    """At least one message is not what it should be; the decoder does not say which."""


class MessageReader:
    """Reads messages of one type, many at once. Thread-safe.

    Scalars that were not sent read as their default, also inside a message that was not sent; messages, `optional`
    fields and members of a `oneof` read as null.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._handler = ptars.HandlerPool([descriptor.file], config=_SETTINGS).get_for_message(descriptor)

    def read(self, messages: Sequence[bytes] | pa.BinaryArray) -> pa.RecordBatch:
        """Returns one row per message, in order, with one column per field of the type.

        Raises:
            Undecodable: a message does not decode; `undecodable` finds out which.
        """
        try:
            if isinstance(messages, pa.Array):
                return self._handler.array_to_record_batch(messages)
            return self._handler.list_to_record_batch(list(messages))
        except ValueError as error:
            raise Undecodable(str(error)) from error

    def undecodable(self, messages: Sequence[bytes]) -> list[int]:
        """Returns the indexes of the messages that do not decode, ascending.

        Halves the messages until the culprits stand alone: few culprits cost about two readings of all messages.
        """
        found: list[int] = []
        spans = [(0, len(messages))]
        while spans:
            start, end = spans.pop()
            if self._reads(messages[start:end]):
                continue
            if end - start == 1:
                found.append(start)
                continue
            middle = (start + end) // 2
            spans += [(start, middle), (middle, end)]
        return sorted(found)

    def _reads(self, messages: Sequence[bytes]) -> bool:
        try:
            self.read(messages)
        except Undecodable:
            return False
        return True
