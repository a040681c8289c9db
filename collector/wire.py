"""Protobuf bytes → Arrow columns (step 2 of the journey). The only module that knows the decoder, ptars.

Decides how many messages become one table, and which of them are at fault when they do not; refuses to know what a
message means. Strings are checked to be UTF-8. As in protobuf, an unknown field or one of another wire type is skipped,
and of several values of a field the last counts. Unlike protobuf, a `oneof` keeps all fields that were sent.

ptars has no bound on depth: enough nested groups overflow its stack and end the process. Google's decoder stops at a
depth of 100, so every message must pass it before ptars sees the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ptars
import pyarrow as pa
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

# Milliseconds everywhere; the decoder saturates at the ends of int64 instead of failing.
_SETTINGS = ptars.PtarsConfig(timestamp_unit="ms", timestamp_tz=None)


class Undecodable(ValueError):
    """At least one message is not what it should be; the decoder does not say which."""


def is_sound(message: bytes, kind: type[Message]) -> bool:
    """Return whether bytes are a message of this kind, nested at most 100 deep, with all strings in UTF-8."""
    try:
        kind.FromString(message)
    except DecodeError:
        return False
    return True


class MessageReader:
    """Reads messages of one type, many at once. Thread-safe.

    Scalars that were not sent read as their default, also inside a message that was not sent; messages, `optional`
    fields and members of a `oneof` read as null.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._handler = ptars.HandlerPool([descriptor.file], config=_SETTINGS).get_for_message(descriptor)
        self._kind: type[Message] = GetMessageClass(descriptor)

    def read(self, messages: Sequence[bytes] | pa.BinaryArray, *, sound: bool = False) -> pa.RecordBatch:
        """Return one row per message, in order, with one column per field of the type.

        Args:
            messages: of this reader's type.
            sound: the caller has seen `is_sound` of each message, or of the message that contains it.

        Raises:
            Undecodable: a message does not decode; `undecodable` finds out which.
        """
        if not sound and self.undecodable(messages):
            raise Undecodable("a message is damaged or nested too deep")
        try:
            return self._read(messages)
        except ValueError:
            # The two decoders differ on damage to unknown fields, so these go.
            try:
                return self._read([self._known_fields(message) for message in _bytes_of(messages)])
            except (ValueError, DecodeError) as error:
                raise Undecodable(str(error)) from error

    def undecodable(self, messages: Sequence[bytes] | pa.BinaryArray) -> list[int]:
        """Return the indexes of the messages that do not decode, ascending. Costs the same however many there are."""
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
    """Return messages as a list; a null is an empty message."""
    return [message or b"" for message in messages.to_pylist()] if isinstance(messages, pa.Array) else messages
