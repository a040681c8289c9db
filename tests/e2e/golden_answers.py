"""The answers that a mesh of an earlier release gave, as tables beside its data, and the same questions again."""

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
    """Tables in a folder; `ranges` has the first and the last date of each site's questions."""

    folder: Path
    ranges: Mapping[str, tuple[str, str]]

    def wanted(self, site: str, kind: str) -> Table:
        """Return the table of an earlier answer."""
        return list(csv.DictReader(io.StringIO((self.folder / f"{site}-{kind}.csv").read_text())))

    def found(self, mesh: Mesh, site: str, kind: str) -> Table:
        """Return the table of today's answer to the same question."""
        since, until = self.ranges[site]
        metrics = [name for name in self.wanted(site, kind)[0] if name not in ("time", "page_path", "channel")]
        question = ("query", "--site", f"demo/{site}", "--since", since, "--until", until, "-o", "csv")
        said = mesh.run(*question, *QUESTIONS[kind], ",".join(metrics))
        assert said.code == 0, said.err
        return list(csv.DictReader(io.StringIO(said.out, newline="")))


def are_same(one: Table, other: Table) -> bool:
    """Return whether two tables have the same rows."""
    return sorted(map(str, one)) == sorted(map(str, other))
