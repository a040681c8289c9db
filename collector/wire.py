"""Decodes protobuf bytes into Arrow columns (step 2 in docs/walk.md). Only this module uses ptars, the decoder.

This module converts messages to a table, and reports which messages are damaged. The meaning of the fields is left to
other modules. Strings must be valid UTF-8. As in protobuf, a field is skipped if it is unknown or has the wrong wire
type. If a field occurs several times, the last value counts. Unlike protobuf, a `oneof` keeps all fields that were
sent.

ptars does not bound the nesting depth. Deeply nested groups overflow the stack and end the process. Google's decoder
stops at a depth of 100. Every message must pass Google's decoder before ptars decodes the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

# All times are in milliseconds. A time that is out of range becomes the nearest int64 value, without an error.
_SETTINGS = ptars.PtarsConfig(timestamp_unit="ms", timestamp_tz=None)


class Undecodable(ValueError):
    """At least one message does not decode. The decoder does not report which message is damaged."""


def is_sound(message: bytes, kind: type[Message]) -> bool:
    """Return whether bytes are a valid message of this type.

    A message may be nested 100 levels deep, and all strings must be UTF-8.
    """
    try:
        kind.FromString(message)
    except DecodeError:
        return False
    return True


class MessageReader:
    """Decodes many messages of the same type at once. Thread-safe.

    Scalars that are not set have their default value, even if the message that contains the scalar is not set.
    Messages, `optional` fields and members of a `oneof` that are not set are null.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._handler = ptars.HandlerPool([descriptor.file], config=_SETTINGS).get_for_message(descriptor)
        self._kind: type[Message] = GetMessageClass(descriptor)

    def read(self, messages: Sequence[bytes] | pa.BinaryArray, *, sound: bool = False) -> pa.RecordBatch:
        """Return a table with a row per message, in order. Each field of the message type has a column.

        Args:
            messages: messages of this reader's type.
            sound: whether the caller has checked each message, or the message that contains it, with `is_sound`.

        Raises:
            Undecodable: a message does not decode. The method `undecodable` returns the messages that do not decode.
        """
        if not sound and self.undecodable(messages):
            raise Undecodable("a message is damaged or nested too deeply")
        try:
            return self._read(messages)
        except ValueError:
            # ptars rejects some damage in unknown fields that Google's decoder accepts. Decode again, without unknown
            # fields.
            try:
                return self._read([self._known_fields(message) for message in _bytes_of(messages)])
            except (ValueError, DecodeError) as error:
                raise Undecodable(str(error)) from error

    def undecodable(self, messages: Sequence[bytes] | pa.BinaryArray) -> list[int]:
        """Return the indexes of the messages that do not decode, in ascending order.

        The cost does not depend on the number of damaged messages.
        """
        return [at for at, message in enumerate(_bytes_of(messages)) if not is_sound(message, self._kind)]

    def _read(self, messages: Sequence[bytes] | pa.BinaryArray) -> pa.RecordBatch:
        if isinstance(messages, pa.Array):
            return self._handler.array_to_record_batch(messages)
        return self._handler.list_to_record_batch(list(messages))

    def _known_fields(self, message: bytes) -> bytes:
        parsed: Any = self._kind.FromString(message)
        parsed.DiscardUnknownFields()
        return bytes(parsed.SerializeToString())


def _bytes_of(messages: Sequence[bytes] | pa.BinaryArray) -> Sequence[bytes]:
    """Return messages as a list. A null becomes an empty message."""
    return [message or b"" for message in messages.to_pylist()] if isinstance(messages, pa.Array) else messages
