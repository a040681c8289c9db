"""A task for tests of the fork server: print facts about this process as JSON, then end as the arguments demand."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

IMPORTED_BY = os.getpid()
"""Pid of the process that imported this module."""


def main(*arguments: str) -> int:
    """Print the facts. Wait for a signal if the arguments contain `wait`; else return 7."""
    facts = {
        "imported_by": IMPORTED_BY,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "arguments": arguments,
        "argv": sys.argv,
        "colour": os.environ.get("COLOUR"),
        "shade": os.environ.get("SHADE"),
        "ignores_sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "now_s": time.monotonic(),
    }
    print(json.dumps(facts), flush="wait" in arguments)  # noqa: T201  # a test reads it; Python flushes it at the end
    if "wait" in arguments:
        signal.pause()
    return 7
