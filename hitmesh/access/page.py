"""Generates the table of RPCs in docs/security.md from the table of rights.

`python -m hitmesh.access.page FILE` writes the table into FILE. The table lists, for each RPC, the role that a caller
needs, the merchant for which the caller needs the role, and the listener that serves the RPC.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from hitmesh.access.rights import RULES, Rule

BEGIN: Final = "<!-- the table of rights begins: python -m hitmesh.access.page docs/security.md -->"
END: Final = "<!-- the table of rights ends -->"


def table() -> str:
    """Return the Markdown table: a header, then a row per RPC, in the order of the rules."""
    head = "| RPC | role | for the merchant in | open in `hitmesh dev` | listener |\n|---|---|---|---|---|\n"
    return head + "".join(_row(path, rule) for path, rule in RULES.items())


def with_table(page: str) -> str:
    """Return the page, with the current table between its BEGIN and END comments."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def _row(path: str, rule: Rule) -> str:
    service, method = path.removeprefix("/").split("/")
    role = "none" if rule.role is None else f"**{rule.role}**" + (" or **operate**" if rule.operators_too else "")
    fields = ", ".join(f"`{field}`" for field in rule.fields) or "–"
    is_open = "yes" if rule.is_open_read or rule.role is None else "no"
    return f"| `{service.rpartition('.')[2]}/{method}` | {role} | {fields} | {is_open} | {rule.door} |\n"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")
