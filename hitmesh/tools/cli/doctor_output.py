"""Prints a diagnosis as a table for people, or as JSON (docs/doctor.md)."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hitmesh import __version__
from hitmesh.tools.cli.output import print_json, visible
from hitmesh.tools.doctor.findings import Diagnosis, Finding, Severity, Status
from hitmesh.tools.doctor.place import Place

_STYLES: Final = {
    Status.OK: "green",
    Status.SKIPPED: "dim",
    Status.PROBLEM: "yellow",
    Severity.ERROR: "bold red",
    Severity.WARNING: "bold yellow",
}
_UNFOLDED_WIDTH: Final = 100_000
_HEIGHT: Final = 25
_SUMMARY_COLUMN: Final = 23
_TEXT_COLUMN: Final = 12
_MIN_WIDTH: Final = 20


def print_diagnosis(found: Diagnosis, place: Place, output: str) -> None:
    """Print a diagnosis; `output` is table or json."""
    if output == "json":
        print_json(json_of(found, place))
    else:
        _print_table(found, place)


def json_of(found: Diagnosis, place: Place) -> dict[str, Any]:
    """Return a diagnosis as JSON values. Fields are only ever added."""
    return {
        "ok": not found.findings,
        "began_at": datetime.fromtimestamp(found.began_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "duration_s": round(found.duration_s, 3),
        "version": __version__,
        "checks": [
            {
                "check": result.check,
                "status": str(result.status),
                "summary": result.summary,
                "duration_s": round(result.duration_s, 3),
                "findings": [_finding_fields(finding, place) for finding in result.findings],
            }
            for result in found.results
        ],
    }


def _finding_fields(finding: Finding, place: Place) -> dict[str, Any]:
    return {
        "code": finding.kind.code,
        "severity": str(finding.kind.severity),
        "subject": finding.subject,
        "meaning": finding.kind.meaning,
        "cause": finding.cause,
        "evidence": finding.evidence,
        "cure": finding.kind.cure,
        "command": command_of(finding, place),
    }


def command_of(finding: Finding, place: Place) -> str:
    """Return the command that cures a finding."""
    return finding.command(common_values(place), in_cluster=place.in_cluster)


def common_values(place: Place) -> Mapping[str, str]:
    """Return the parts of commands that all findings share."""
    return {"home": place.home_option, "init": place.init_options}


def _print_table(found: Diagnosis, place: Place) -> None:
    from rich.console import Console
    from rich.text import Text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNFOLDED_WIDTH
    console = Console(highlight=False, width=width, height=_HEIGHT)
    for result in found.results:
        status = _worst(result.findings) or result.status
        text = _wrapped(result.summary, width - _SUMMARY_COLUMN, " " * _SUMMARY_COLUMN)
        console.print(Text.assemble((f"{status:<9}", _STYLES[status]), f"{result.check:<14}{text}"))
    for finding in found.findings:
        severity = finding.kind.severity
        console.print()
        console.print(Text.assemble((f"{severity:<9}", _STYLES[severity]), (visible(finding.subject), "bold")))
        for label, value in (
            ("problem", finding.kind.meaning),
            ("cause", finding.cause),
            ("evidence", finding.evidence),
            ("cure", finding.kind.cure),
        ):
            text = _wrapped(value, width - _TEXT_COLUMN, " " * _TEXT_COLUMN)
            console.print(Text.assemble((f"  {label:<10}", "dim"), text))
        # A command stays on a line, so that it can be copied.
        command = Text.assemble(("  command   ", "dim"), (visible(command_of(finding, place)), "bold"))
        console.print(command, soft_wrap=True)


def _wrapped(text: str, width: int, indent: str) -> str:
    """Return a text whose following lines begin with an indent."""
    return f"\n{indent}".join(textwrap.wrap(visible(text), max(width, _MIN_WIDTH)) or [""])


def _worst(findings: Sequence[Finding]) -> Severity | None:
    severities = {finding.kind.severity for finding in findings}
    return next((severity for severity in Severity if severity in severities), None)
