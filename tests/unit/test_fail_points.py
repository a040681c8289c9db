"""Test the setting that kills a processor after a step of a commit, and the names of these steps."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from hitmesh.model.errors import RefusedError
from hitmesh.runtime.config import load
from processor.fail_points import dying_at
from processor.settings import ProcessorSettings
from processor.stream.commit import CommitStep, ignore_step

STEPPING_PROGRAM = """
from processor.stream.commit import CommitStep
from processor.fail_points import dying_at

reached = dying_at("claims:2")
for round in range(3):
    for step in CommitStep:
        print(round, step, flush=True)
        reached(step)
"""


def settings_of(fail_at: str) -> ProcessorSettings:
    return load(ProcessorSettings, {"HITMESH_PROCESSOR_STORE": "memory:", "HITMESH_PROCESSOR_FAIL_AT": fail_at})


def test_process_is_killed_when_the_step_is_done_for_the_nth_time_and_does_nothing_more() -> None:
    died = subprocess.run([sys.executable, "-c", STEPPING_PROGRAM], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL
    assert died.stdout.splitlines()[-1] == "1 claims"
    assert len(died.stdout.splitlines()) == len(CommitStep) + 3


def test_without_a_setting_no_step_kills_the_process() -> None:
    assert dying_at("") is ignore_step
    assert dying_at(settings_of("").fail_at) is ignore_step


@pytest.mark.parametrize("step", CommitStep)
def test_every_step_can_be_named(step: CommitStep) -> None:
    assert settings_of(f"{step}:12").fail_at == f"{step}:12"


@pytest.mark.parametrize("wrong", ["raw", "raw:0", "raw:", "commit:1", "raw:1000000", "raw:1 "])
def test_a_malformed_fail_point_is_refused(wrong: str) -> None:
    with pytest.raises(RefusedError, match=re.escape("HITMESH_PROCESSOR_FAIL_AT")):
        settings_of(wrong)
