"""The values of a diagnosis: kinds of findings, findings, and the result of a check. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How urgent a finding is.

    ERROR: hits or reports are affected now. WARNING: nothing is affected yet, but a margin is used up.
    """

    ERROR = "error"
    WARNING = "warning"


class Status(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding, as documented in docs/doctor.md.

    Attributes:
        code: stable name in the JSON output.
        severity: how urgent findings of this kind are.
        meaning: the problem, as a sentence.
        cure: the remedy, as a sentence.
        command: the command that cures the problem, or begins the cure. Names in braces are filled in from the finding.
        in_cluster: the command inside Kubernetes, if it differs; "" otherwise.
    """

    code: str
    severity: Severity
    meaning: str
    cure: str
    command: str
    in_cluster: str = ""

    def about(self, subject: str, cause: str, evidence: str, **values: str) -> Finding:
        """Return a finding of this kind. `values` fill the names in the command."""
        return Finding(self, subject, cause, evidence, values)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem.

    Attributes:
        kind: the kind of problem.
        subject: the part of the mesh that has the problem, such as `topic hitmesh.hits`.
        cause: the cause, as a sentence.
        evidence: the observed values that show the problem.
        values: texts for the names in the kind's command.
    """

    kind: Kind
    subject: str
    cause: str
    evidence: str
    values: Mapping[str, str] = field(default_factory=dict)

    def command(self, common: Mapping[str, str], *, in_cluster: bool) -> str:
        """Return the command with all values, quoted for a shell.

        Args:
            common: values that all commands share. The values are parts of commands, and are not quoted again.
            in_cluster: whether the reader of the command works in Kubernetes.
        """
        template = self.kind.in_cluster if in_cluster and self.kind.in_cluster else self.kind.command
        quoted = {name: shlex.quote(value) for name, value in self.values.items()}
        return template.format_map({**common, **quoted})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on facts: a summary, and the findings, of which there are none if all is well."""

    summary: str
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The reason why a check does not apply or cannot run, as a sentence with the remedy if there is a remedy."""

    why: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Attributes:
        check: name of the check.
        status: the outcome.
        summary: what was found, as a sentence; for a skipped check, the reason.
        findings: the problems.
        duration_s: how long the check took.
    """

    check: str
    status: Status
    summary: str
    findings: Sequence[Finding]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The results of all checks, in the order of the checks' table; `began_ms` is UTC ms."""

    results: Sequence[CheckResult]
    began_ms: int
    duration_s: float

    @property
    def findings(self) -> list[Finding]:
        """All findings, in the order of the checks."""
        return [finding for result in self.results for finding in result.findings]

    def fails(self, from_severity: Severity) -> bool:
        """Return whether there is a finding that is at least as severe as the given severity."""
        counted = (Severity.ERROR,) if from_severity is Severity.ERROR else tuple(Severity)
        return any(finding.kind.severity in counted for finding in self.findings)
