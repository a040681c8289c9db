"""Compare the answers of an earlier release with today's answers.

The answers of the earlier release are CSV tables in the same folder as the data of the earlier release.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.mesh import Mesh

Table = list[dict[str, str]]
QUESTIONS = {
    "day": ("--grain", "day", "--metrics"),
    "page": ("--dimensions", "page_path", "--metrics"),
    "channel": ("--dimensions", "channel", "--metrics"),
}


@dataclass(frozen=True)
class GoldenAnswers:
    """The answers that a folder stores as tables.

    `ranges` maps each site to the first and last date of its questions.
    """

    folder: Path
    ranges: Mapping[str, tuple[str, str]]

    def wanted(self, site: str, kind: str) -> Table:
        """Return the earlier release's answer to a question as a table."""
        with (self.folder / f"{site}-{kind}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def found(self, mesh: Mesh, site: str, kind: str) -> Table:
        """Return today's answer to the same question as a table."""
        since, until = self.ranges[site]
        metrics = [name for name in self.wanted(site, kind)[0] if name not in ("time", "page_path", "channel")]
        question = ("query", "--site", f"demo/{site}", "--since", since, "--until", until, "-o", "csv")
        finished = mesh.run(*question, *QUESTIONS[kind], ",".join(metrics))
        assert finished.code == 0, finished.err
        return list(csv.DictReader(io.StringIO(finished.out, newline="")))


def are_same(first: Table, second: Table) -> bool:
    """Return whether two tables have the same rows in any order."""
    return sorted(map(str, first)) == sorted(map(str, second))
