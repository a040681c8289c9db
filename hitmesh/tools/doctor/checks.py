"""The table of all checks, in the order of the output. docs/doctor.md is generated from this table."""

from __future__ import annotations

from typing import Any, Final

from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.gather_hits import gather_canary, gather_freshness, gather_history, gather_ledgers
from hitmesh.tools.doctor.gather_machine import gather_certificates, gather_disks, gather_files
from hitmesh.tools.doctor.gather_mesh import (
    gather_clocks,
    gather_contract,
    gather_door,
    gather_envoy,
    gather_health,
    gather_processes,
)
from hitmesh.tools.doctor.judge_hits import judge_canary, judge_history, judge_ledgers
from hitmesh.tools.doctor.judge_machine import judge_certificates, judge_clocks, judge_disks, judge_files
from hitmesh.tools.doctor.judge_mesh import (
    judge_contract,
    judge_door,
    judge_envoy,
    judge_freshness,
    judge_health,
    judge_processes,
)
from hitmesh.tools.doctor.running import DOOR, Check, Needs

CHECKS: Final[tuple[Check[Any], ...]] = (
    Check(
        DOOR,
        "Does Envoy's public listener answer a request?",
        "Every hit and every question enters the mesh here. Checks that need the mesh are skipped if it does not.",
        5.0,
        Needs.NOTHING,
        (kinds.DOOR_CLOSED, kinds.DOOR_FAILS),
        gather_door,
        judge_door,
    ),
    Check(
        "services",
        "Does each service report itself as serving, through Envoy?",
        "A service that is not serving refuses its calls; the other services may go on.",
        10.0,
        Needs.MESH,
        (kinds.NOT_SERVING,),
        gather_health,
        judge_health,
    ),
    Check(
        "envoy",
        "Is Envoy live, and is every instance of every service healthy for Envoy?",
        "Envoy sends no calls to an instance that is not healthy, so the load moves to the others.",
        10.0,
        Needs.NOTHING,
        (kinds.ENVOY_NOT_LIVE, kinds.NO_HEALTHY_INSTANCE, kinds.UNHEALTHY_INSTANCE),
        gather_envoy,
        judge_envoy,
    ),
    Check(
        "processes",
        "Does every process serve its metrics, and do all have the same version as this command?",
        "A process that hangs does not answer. Two versions side by side are right only during an upgrade.",
        15.0,
        Needs.NOTHING,
        (kinds.PROCESS_SILENT, kinds.MIXED_VERSIONS, kinds.OTHER_VERSION),
        gather_processes,
        judge_processes,
    ),
    Check(
        "contract",
        "Does the mesh serve the same protos as this command line?",
        "Fields that only one side has are ignored, so answers may lack numbers.",
        10.0,
        Needs.MESH,
        (kinds.OTHER_CONTRACT,),
        gather_contract,
        judge_contract,
    ),
    Check(
        "canary",
        "Does a hit that is sent now arrive in reports, and count once?",
        "The canary takes the same way as every hit: Envoy, collector, log, processor, stores, reporter.",
        90.0,
        Needs.MESH,
        (
            kinds.CANARY_REFUSED,
            kinds.CANARY_NOT_ACKNOWLEDGED,
            kinds.CANARY_NOT_REPORTED,
            kinds.CANARY_MISCOUNTED,
            kinds.CLOCK_SKEW,
        ),
        gather_canary,
        judge_canary,
    ),
    Check(
        "freshness",
        "How old are reports, and does every log partition make progress?",
        "A partition that stands still hides the newest hits of all its sites. The canary sees only one partition.",
        20.0,
        Needs.MESH,
        (kinds.STALLED, kinds.DELAYED, kinds.LOG_TIME_AHEAD),
        gather_freshness,
        judge_freshness,
    ),
    Check(
        "ledger",
        "Is every hit accounted for, and are acknowledged hits read?",
        "The ledger compares hits that were acknowledged with hits that count. An imbalance is a lost or doubled hit.",
        60.0,
        Needs.MESH,
        (kinds.LEDGER_IMBALANCE, kinds.HITS_UNREAD),
        gather_ledgers,
        judge_ledgers,
    ),
    Check(
        "history",
        "Do the stored rows of settled days agree with the ledger, and across stores?",
        "A store may lose or damage rows long after they were written.",
        60.0,
        Needs.MESH,
        (kinds.DAY_DAMAGED, kinds.DAY_LOST),
        gather_history,
        judge_history,
    ),
    Check(
        "clocks",
        "Do the clocks of Envoy, services and stores agree with this machine's clock?",
        "Event times, keys, tokens and the closing of days depend on the clocks.",
        15.0,
        Needs.MESH,
        (kinds.CLOCK_SKEW,),
        gather_clocks,
        judge_clocks,
    ),
    Check(
        "certificates",
        "How long are the certificates valid?",
        "With an expired certificate, no new connection is made, and the mesh stops at the next restart.",
        10.0,
        Needs.NOTHING,
        (kinds.CERTIFICATE_ENDED, kinds.CERTIFICATE_ENDS, kinds.CERTIFICATE_UNREADABLE),
        gather_certificates,
        judge_certificates,
    ),
    Check(
        "disks",
        "Is there room on the disks with the mesh's directories?",
        "On a full disk, nothing is acknowledged, because an acknowledged hit must be durable.",
        5.0,
        Needs.NOTHING,
        (kinds.DISK_FULL, kinds.DISK_LOW),
        gather_disks,
        judge_disks,
    ),
    Check(
        "files",
        "Can the files of embedded stores be read, and do they have this version's schema?",
        "A service does not start on a damaged file, or on a file of a newer version.",
        15.0,
        Needs.FILES,
        (kinds.FILE_DAMAGED, kinds.FORMAT_NEWER, kinds.FORMAT_OLDER),
        gather_files,
        judge_files,
    ),
)
"""All checks."""
