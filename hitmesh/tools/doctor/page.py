"""Generates the tables of checks and findings in docs/doctor.md.

`python -m hitmesh.tools.doctor.page FILE` writes the tables into FILE.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any, Final

from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.findings import Kind
from hitmesh.tools.doctor.running import Check

BEGIN: Final = "<!-- the tables of checks begin: python -m hitmesh.tools.doctor.page docs/doctor.md -->"
END: Final = "<!-- the tables of checks end -->"
_WIDTH: Final = 120
_HEAD: Final = "| finding | severity | what is wrong | cure | command |\n|---|---|---|---|---|\n"


def tables() -> str:
    """Return a section per check, in the order of the output, and the finding that every check may have."""
    general = f"\n### Every check\n\n{_HEAD}{_row(kinds.NO_ANSWER)}{_row(kinds.STORE_NO_ANSWER)}"
    return general + "".join(map(_section, CHECKS)) + "\n"


def with_table(page: str) -> str:
    """Return the page, with the current tables between its BEGIN and END comments."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}{END}{after}"


def _section(check: Check[Any]) -> str:
    about = f"{check.question} {check.why} Needs: {check.needs}. Time limit: {check.deadline_s:g} s."
    return f"\n### {check.name}\n\n{textwrap.fill(about, _WIDTH)}\n\n{_HEAD}" + "".join(map(_row, check.kinds))


def _row(kind: Kind) -> str:
    commands = [kind.command, *([f"{kind.in_cluster}"] if kind.in_cluster else [])]
    shown = " in a cluster: ".join(f"`{_plain(command)}`" for command in commands)
    return f"| `{kind.code}` | {kind.severity} | {kind.meaning} | {kind.cure} | {shown} |\n"


def _plain(command: str) -> str:
    """Return a command with placeholders in capitals, and without parts that depend on the mesh."""
    text = command.replace("{home}", "").replace("{init}", " --backend URL")
    for name in ("site", "utc_date", "hit_id", "file", "path", "part", "kafka", "workload", "address"):
        text = text.replace(f"{{{name}}}", name.upper().replace("_", "-"))
    return text


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")
