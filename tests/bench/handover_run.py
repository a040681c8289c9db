"""Measure how long a processor needs to hand a partition with an aged state over to another processor.

Standalone: `python -m tests.bench.handover_run 400000 107 15` prints the result as JSON. The arguments are the number
of open visits, and the minutes of log time, in two parts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any, Final

from tests.bench.measured import ROOT, Result, environment, progress
from tests.bench.scale import Core

AIM_S: Final = 10.0


def run_handover(scale: Core) -> Result:
    """Return the seconds to save the state and to recover it, with the size of the state.

    Also return whether the recovered state is the saved state, and whether no hit was replayed.
    """
    progress(f"hand-over of {scale.open_visits:,} open visits")
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-handover-") as directory:
        answer = _answer(directory, scale)
    took_s = round(answer["save_s"] + answer["recover_s"], 2)
    return {"handover_s": {"value": took_s, "unit": "s", "aim": AIM_S, "ok": took_s < AIM_S}, **answer}


def _answer(directory: str, scale: Core) -> dict[str, Any]:
    command = (sys.executable, "-m")
    numbers = (str(scale.open_visits), str(scale.before_min), str(scale.measured_min))
    maker = subprocess.Popen(
        [*command, "tests.bench.core_records", *numbers], stdout=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    with maker:
        assert maker.stdout is not None
        measured = subprocess.run(
            [*command, "tests.bench.handover_process", directory, str(scale.window_hits)],
            stdin=maker.stdout,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            check=True,
        )
        maker.stdout.close()
    answer: dict[str, Any] = json.loads(measured.stdout)
    return answer


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(run_handover(Core(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), 0)), indent=2) + "\n"
    )
