"""Decides which facts about clocks, certificates, disks and embedded files are findings. Pure.

Knows nothing of how facts are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from hitmesh.model.plurals import counted
from hitmesh.model.server_facts import StoreFile
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.facts import CertificateFacts, CertificatesFacts, ClockReading, DiskFacts
from hitmesh.tools.doctor.findings import Finding, Kind, Verdict
from hitmesh.tools.doctor.limits import Limits

_MIB = 1 << 20


def judge_clocks(facts: Sequence[ClockReading], limits: Limits) -> Verdict:
    """Judge the smallest possible difference between each clock and the clock of this machine."""
    findings = [
        kinds.CLOCK_SKEW.about(
            f"clock of {each.source}",
            f"the clock of {each.source} is {'ahead of' if each.skew_ms > 0 else 'behind'} this machine's clock",
            f"at least {abs(each.skew_ms) / 1000:,.1f} s apart; allowed are {limits.skew_ms / 1000:g} s",
        )
        for each in facts
        if abs(each.skew_ms) > limits.skew_ms
    ]
    largest = max((abs(each.skew_ms) for each in facts), default=0)
    return Verdict(f"{counted(len(facts), 'clock')} compared, at most {largest / 1000:,.1f} s apart", findings)


def judge_certificates(facts: CertificatesFacts, limits: Limits) -> Verdict:
    """Judge the time until certificates expire."""
    findings = [finding for each in facts.certificates for finding in _certificate(each, facts.now, limits)]
    left = [(each.not_after - facts.now) // DAY_MS for each in facts.certificates if not each.error]
    soonest = f", {min(left):,} days left" if left else ""
    return Verdict(f"{counted(len(facts.certificates), 'certificate')}{soonest}", findings)


def _certificate(facts: CertificateFacts, now: int, limits: Limits) -> Iterator[Finding]:
    if facts.error:
        cause = "the certificate cannot be read"
        yield kinds.CERTIFICATE_UNREADABLE.about(f"certificate {facts.source}", cause, facts.error)
        return
    days = (facts.not_after - now) // DAY_MS
    evidence = f"{facts.subject}: valid from {_day(facts.not_before)} to {_day(facts.not_after)}"
    if now >= facts.not_after or now < facts.not_before:
        ended = now >= facts.not_after
        cause = f"the certificate expired {-days:,} days ago" if ended else "the certificate is not valid yet"
        yield _about_certificate(kinds.CERTIFICATE_ENDED, kinds.DOOR_CERTIFICATE_ENDED, facts, cause, evidence)
    elif facts.not_after - now < _margin_ms(facts, limits):
        cause = f"the certificate expires in {days:,} days, fewer than {_margin_ms(facts, limits) / DAY_MS:,.1f}"
        yield _about_certificate(kinds.CERTIFICATE_ENDS, kinds.DOOR_CERTIFICATE_ENDS, facts, cause, evidence)


def _about_certificate(of_file: Kind, of_door: Kind, facts: CertificateFacts, cause: str, evidence: str) -> Finding:
    subject = f"certificate {facts.source}"
    if facts.is_of_door:
        return of_door.about(subject, cause, evidence, address=facts.source)
    return of_file.about(subject, cause, evidence, file=facts.source)


def _margin_ms(facts: CertificateFacts, limits: Limits) -> int:
    """Return the time before its end at which a certificate should have been renewed.

    A certificate for a week has a shorter margin, because it would otherwise be a finding from its first day.
    """
    return min(limits.certificate_days * DAY_MS, (facts.not_after - facts.not_before) // 3)


def _day(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def judge_disks(facts: Sequence[DiskFacts], limits: Limits) -> Verdict:
    """Judge the free space of the disks that hold the mesh's files."""
    findings = [finding for each in facts for finding in _disk(each, limits)]
    smallest = min(facts, key=lambda disk: disk.free_bytes)
    return Verdict(f"{smallest.free_bytes // _MIB:,} MiB free at {smallest.path}", findings)


def _disk(facts: DiskFacts, limits: Limits) -> Iterator[Finding]:
    fraction = facts.free_bytes / facts.total_bytes if facts.total_bytes else 0.0
    evidence = f"{facts.free_bytes // _MIB:,} of {facts.total_bytes // _MIB:,} MiB free ({fraction:.0%})"
    subject = f"disk of {facts.path}"
    if facts.free_bytes < limits.free_bytes:
        cause = f"less than {limits.free_bytes // _MIB:,} MiB are free"
        yield kinds.DISK_FULL.about(subject, cause, evidence, path=facts.path)
    elif fraction < limits.free_fraction:
        cause = f"less than {limits.free_fraction:.0%} are free"
        yield kinds.DISK_LOW.about(subject, cause, evidence, path=facts.path)


def judge_files(facts: Sequence[StoreFile], _: Limits) -> Verdict:
    """Judge the files of embedded stores: each must be readable, and have the schema of this version."""
    findings = [finding for each in facts for finding in _file(each)]
    return Verdict(f"{len(facts) - len(findings)} of {counted(len(facts), 'file')} as expected", findings)


def _file(facts: StoreFile) -> Iterator[Finding]:
    subject = f"file {facts.name}"
    if facts.is_locked:
        yield kinds.FILE_LOCKED.about(subject, f"another program has locked {facts.name}", facts.error)
    elif facts.error:
        yield kinds.FILE_DAMAGED.about(subject, f"{facts.name} cannot be read", facts.error)
    elif facts.version > facts.newest:
        evidence = f"schema version {facts.version}; this version knows 1 to {facts.newest}"
        yield kinds.FORMAT_NEWER.about(subject, f"a newer version of hitmesh wrote {facts.name}", evidence)
    elif facts.version < facts.newest:
        evidence = f"schema version {facts.version}; this version writes {facts.newest}"
        yield kinds.FORMAT_OLDER.about(subject, f"{facts.name} was not migrated", evidence)
