"""The base class of control's gRPC services: runs a function of control.rpc on behalf of the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from control.backend import Backend
from hitmesh.access.callers import Caller
from hitmesh.access.calls import Calls
from hitmesh.model.checkpoints import Checkpoint

_RequestT = TypeVar("_RequestT", bound=Message)
_ResponseT = TypeVar("_ResponseT", bound=Message)


class Shell:
    """Runs a function on behalf of the caller. hitmesh.access.calls has authorised the caller before."""

    def __init__(self, backend: Backend, calls: Calls) -> None:
        self._backend = backend
        self._calls = calls

    def _run(
        self,
        function: Callable[[Backend, Caller | None, _RequestT], _ResponseT],
        request: _RequestT,
        context: grpc.ServicerContext,
    ) -> _ResponseT:
        def answer(caller: Caller | None, _: Checkpoint) -> _ResponseT:
            return function(self._backend, caller, request)

        return self._calls.run(answer, request, context)

    def _run_watched(
        self,
        function: Callable[[Backend, Caller | None, _RequestT, Checkpoint], _ResponseT],
        request: _RequestT,
        context: grpc.ServicerContext,
    ) -> _ResponseT:
        """Run a function with a checkpoint, which abandons the function when the caller has left."""

        def answer(caller: Caller | None, checkpoint: Checkpoint) -> _ResponseT:
            return function(self._backend, caller, request, checkpoint)

        return self._calls.run(answer, request, context)
