from __future__ import annotations

import threading

import pytest

from hitmesh.adapters.kafka.bounded_calls import BoundedCalls, CallHangs
from tests.support.patience import patient

WITHIN_S = patient(10)


def test_result_and_error_are_those_of_the_function_and_calls_are_made_in_one_other_thread() -> None:
    calls = BoundedCalls("test")
    assert calls.call(WITHIN_S, divmod, 7, 2) == (3, 1)
    first, second = (calls.call(WITHIN_S, threading.get_ident) for _ in range(2))
    assert first == second != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        calls.call(WITHIN_S, divmod, 7, 0)
    with pytest.raises(TimeoutError):
        calls.call(WITHIN_S, _times_out)
    calls.end()


def test_call_that_does_not_come_back_is_left_behind_and_named() -> None:
    calls, back = BoundedCalls("test"), threading.Event()
    with pytest.raises(CallHangs, match=r"wait did not return within 0\.01 s"):
        calls.call(0.01, back.wait)
    back.set()


def test_thread_ends_on_request() -> None:
    calls = BoundedCalls("test")
    thread = calls.call(WITHIN_S, threading.current_thread)
    calls.end()
    calls.end()
    thread.join(WITHIN_S)
    assert not thread.is_alive()


def _times_out() -> None:
    raise TimeoutError
