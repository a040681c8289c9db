"""Measure the memory of a stream in which every hit has a different page (rule S10).

Standalone: `python -m tests.bench.texts_run 10000000` prints the result as JSON. The argument is the number of hits.
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Final

from processor.stream.live.limits import PRODUCTION
from tests.bench.measured import Child, Result, progress

SPARE_MIB: Final = 256
"""Permitted growth of memory during the second half of the hits.

A window of records and a growing hash table may need additional memory even in the second half.
"""


def run_texts(pages: int, texts_per_hour: int = PRODUCTION.texts_per_hour) -> Result:
    """Return the memory after each tenth of the hits. Also return whether memory is stable in the second half."""
    progress(f"texts: {pages:,} distinct pages of a site, of which {texts_per_hour:,} an hour stay")
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-texts-") as directory:
        process = Child("tests.bench.texts_process", str(pages), str(texts_per_hour), directory)
        result = process.first_answer
        process.stop()
    looks = result["looks"]
    grown = looks[-1]["memory_mib"] - looks[len(looks) // 2]["memory_mib"]
    result["grown_mib"] = {"value": grown, "unit": "MiB in the second half", "aim": 0, "ok": grown <= SPARE_MIB}
    result["checks"] = {"ok": result["hits"] > 0}
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run_texts(int(sys.argv[1])), indent=2) + "\n")
