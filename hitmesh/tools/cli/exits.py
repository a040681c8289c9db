"""Exit codes, and errors as text or as a single Status object.

This module defines the exit code of every error. Scripts depend on these codes: the meaning of a code must never
change.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import click

from hitmesh.model.errors import HitmeshError, RefusedError, RetryError
from hitmesh.model.reasons import ERROR_DOMAIN, LocalReason, Reason
from hitmesh.tools.cli.output import echo, print_json
from hitmesh.tools.cli.streams import OutputFailed

if TYPE_CHECKING:
    import grpc

RPC_BASE: Final = 64
# The exit code of a command that found no object. The code is the same as for the gRPC code NOT_FOUND.
NOTHING_FOUND: Final = RPC_BASE + 5
# The exit code of a command whose hits were all refused. The code is the same as for the gRPC code INVALID_ARGUMENT.
ALL_REFUSED: Final = RPC_BASE + 3
CURE_UNREACHABLE: Final = "start a mesh with `hitmesh dev`, or name a running mesh with --endpoint HOST:PORT"


class Exit(IntEnum):
    """Exit codes. For a failed RPC, the exit code is 64 + the gRPC code."""

    OK = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    CANNOT_START = 4
    UNREACHABLE = 5
    NOT_READY = 6
    PROBLEMS_FOUND = 7
    OUTPUT_FAILED = 8
    INTERRUPTED = 130
    CLOSED_PIPE = 141


EXIT_CODES_HELP: Final = """\b
Exit codes:
  0    done
  1    a bug in hitmesh
  2    wrong usage: an invalid option, argument or file
  3    wrong configuration: an invalid file, key or environment variable
  4    cannot start, for example a port is taken
  5    no mesh can be reached
  6    not ready in time: a mesh that is starting (60 s), or the numbers of an import (--timeout)
  7    a check found problems
  8    the output cannot be written, for example to a full disk
  64+n an RPC failed with gRPC code n, for example 67 INVALID_ARGUMENT (also: all hits were refused), 69 NOT_FOUND
       (also: nothing is there, such as no settled day in a range, or no hit of a visitor)
  130  interrupted
  141  the program that reads the output closed the pipe, for example `hitmesh … | head`
"""

# The `code` of the Status object for an error that was not caused by an RPC, keyed by exit code. The values are codes
# of google.rpc.
_RPC_CODES: Final[dict[int, int]] = {
    Exit.BUG: 13,  # INTERNAL
    Exit.USAGE: 3,  # INVALID_ARGUMENT
    Exit.CONFIG: 9,  # FAILED_PRECONDITION
    Exit.CANNOT_START: 9,
    Exit.UNREACHABLE: 14,  # UNAVAILABLE
    Exit.NOT_READY: 4,  # DEADLINE_EXCEEDED
    Exit.PROBLEMS_FOUND: 9,
    Exit.OUTPUT_FAILED: 9,
    Exit.INTERRUPTED: 1,  # CANCELLED
    Exit.CLOSED_PIPE: 1,
}
_EXITS_BY_REASON: Final[dict[Reason, Exit]] = {
    LocalReason.NOT_VISIBLE_YET: Exit.NOT_READY,
    LocalReason.NOT_STARTED_YET: Exit.NOT_READY,
    LocalReason.NO_KEY: Exit.CONFIG,
    LocalReason.INVALID_CONFIG: Exit.CONFIG,
}
# Phrases in grpc's error message if grpc cannot connect. If the message contains none of the phrases, the message comes
# from the server.
_NOT_CONNECTED: Final = ("failed to connect", "DNS resolution failed", "connection refused")


class CommandFailed(Exception):
    """A command failed. `code` is a value of Exit, or 64 + a gRPC code; `message` names value, rule and remedy."""

    def __init__(self, code: int, message: str, *, reason: str = LocalReason.FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as shown to the caller: exit code, text, and the Status object."""

    code: int
    text: str
    rpc_code: int
    message: str
    details: list[dict[str, Any]] = field(default_factory=list)

    def show(self, *, as_json: bool) -> None:
        """Write the error to stderr, as text or as a JSON line. If the error has no text, nothing is written."""
        if not self.text:
            return
        if as_json:
            status = {"code": self.rpc_code, "message": self.message, "details": self.details}
            print_json(status, err=True)
        else:
            echo(self.text, err=True)


def failure_of(error: BaseException) -> Failure:
    """Map an exception to a failure; an unknown exception is reported as a bug."""
    if isinstance(error, click.UsageError):
        return _local(Exit.USAGE, error.format_message(), LocalReason.USAGE, text=_usage_text(error))
    if isinstance(error, click.ClickException):
        return _local(Exit.USAGE, error.format_message(), LocalReason.USAGE)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _local(Exit.INTERRUPTED, "interrupted", LocalReason.INTERRUPTED, text="interrupted")
    if isinstance(error, CommandFailed):
        return _local(error.code, error.message, error.reason)
    if isinstance(error, HitmeshError):
        return _local(_exit_of(error), error.message, error.reason, metadata=error.metadata())
    if isinstance(error, OutputFailed):
        return _output_failure(error)
    rpc_failure = _rpc_failure(error)
    if rpc_failure is not None:
        return rpc_failure
    trace = "".join(traceback.format_exception(error))
    message = f"{type(error).__name__}: {error}"
    return _local(
        Exit.BUG,
        message,
        LocalReason.BUG,
        text=f"{trace}error: this is a bug in hitmesh: please report the lines above",
    )


def _output_failure(error: OutputFailed) -> Failure:
    """Return the error to show if standard output cannot be written.

    If the program that reads the output has closed the pipe, no message is printed. The exit code is 128 + SIGPIPE, as
    for other Unix programs.
    """
    message = f"standard output cannot be written ({error.cause}): free space, or write the output to another place"
    if error.is_closed_pipe:
        return _local(Exit.CLOSED_PIPE, message, LocalReason.OUTPUT_FAILED, text="")
    return _local(Exit.OUTPUT_FAILED, message, LocalReason.OUTPUT_FAILED)


def _exit_of(error: HitmeshError) -> Exit:
    if error.reason in _EXITS_BY_REASON:
        return _EXITS_BY_REASON[error.reason]
    if isinstance(error, RetryError):
        return Exit.UNREACHABLE
    return Exit.USAGE if isinstance(error, RefusedError) else Exit.BUG


def _local(
    code: int, message: str, reason: str, *, text: str | None = None, metadata: Mapping[str, str] | None = None
) -> Failure:
    info: dict[str, Any] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": ERROR_DOMAIN,
    }
    details = [info | ({"metadata": dict(metadata)} if metadata else {})]
    rpc_code = _RPC_CODES[code] if code in _RPC_CODES else code - RPC_BASE
    return Failure(code, f"error: {message}" if text is None else text, rpc_code, message, details)


def _usage_text(error: click.UsageError) -> str:
    if error.ctx is None:
        return f"error: {error.format_message()}"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    path = error.ctx.command_path
    return f"{error.ctx.get_usage()}\nerror: {error.format_message()}\nSee `{path} --help`."


def _rpc_failure(error: BaseException) -> Failure | None:
    # If the module grpc is not loaded, the error cannot come from an RPC. If the function always imported grpc, every
    # error would take 100 ms longer.
    if "grpc" not in sys.modules:
        return None
    import grpc

    if not isinstance(error, grpc.RpcError):
        return None
    code = error.code()
    message = "; ".join([error.details() or "", *getattr(error, "__notes__", ())])
    not_connected = any(words in message for words in _NOT_CONNECTED) and "upstream" not in message
    if code is grpc.StatusCode.UNAVAILABLE and not_connected:
        return _local(Exit.UNREACHABLE, f"no mesh can be reached ({message}): {CURE_UNREACHABLE}", LocalReason.NO_MESH)
    number = int(code.value[0])
    return Failure(RPC_BASE + number, f"error: {code.name}: {message}", number, message, _details(error))


def _details(error: grpc.RpcError) -> list[dict[str, Any]]:
    """Return the details of a status as JSON.

    A detail whose type is unknown becomes an object with only the type URL.
    """
    from google.protobuf.json_format import MessageToDict
    from google.rpc import error_details_pb2  # noqa: F401 - registers the types that details have
    from grpc_status import rpc_status

    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an RpcError raised by a call is that call
    except ValueError:  # the details contradict the status if a proxy answered
        return []
    details: list[dict[str, Any]] = []
    for detail in status.details if status is not None else ():
        try:
            details.append(MessageToDict(detail))
        except TypeError:
            details.append({"@type": detail.type_url})
    return details
