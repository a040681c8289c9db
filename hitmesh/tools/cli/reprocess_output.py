"""Shows reprocessings as tables or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.client.reprocessing import short_id
from hitmesh.model.dates import date_text_of
from hitmesh.model.names import short_site_name
from hitmesh.model.plurals import counted
from hitmesh.tools.cli.erase_output import print_receipt, receipt_fields
from hitmesh.tools.cli.output import echo, print_json, print_table, visible

MAX_SITES: Final = 3
BACKUP_CURE: Final = "restore the raw store from a backup, then repair these days"
_MS_PER_MINUTE: Final = 60_000
_BEFORE_RESULT: Final = (
    pb.REPROCESSING_STATE_UNSPECIFIED,
    pb.REPROCESSING_STATE_PLANNED,
    pb.REPROCESSING_STATE_RUNNING,
)


def print_reprocessing(reprocessing: pb.Reprocessing, output: str) -> None:
    """Print a reprocessing with its plan; `output` is table or json."""
    if output == "json":
        print_json(fields_of(reprocessing))
        return
    echo(title_of(reprocessing))
    for name, text in _about(reprocessing):
        if text:
            echo(f"  {name:<9} {visible(text)}")
    echo()
    print_table(
        ("stage", "work"),
        [(stage_name(stage), _work_of(stage, reprocessing.kind)) for stage in reprocessing.stages],
        right_from=2,
    )
    if reprocessing.HasField("receipt"):
        print_receipt(reprocessing.receipt)


def print_list(found: Sequence[pb.Reprocessing], output: str) -> None:
    """Print a line per reprocessing; `output` is table or json."""
    if output == "json":
        print_json([fields_of(each) for each in found])
        return
    rows = [
        (
            short_id(each.name),
            state_name(each),
            _purpose(each),
            _sites(each),
            _days(each),
            f"{each.site_days:,}",
            f"{each.hits:,}",
            f"{each.done_site_days:,}",
        )
        for each in found
    ]
    headers = ("id", "state", "kind", "sites", "UTC days", "site-days", "hits", "done")
    print_table(headers, rows, right_from=5)


def fields_of(reprocessing: pb.Reprocessing) -> dict[str, Any]:
    """Return the JSON of a reprocessing. A plan that is not stored has no id, no state and no times."""
    stored: dict[str, Any] = {
        "id": short_id(reprocessing.name),
        "state": state_name(reprocessing),
        "work": _work_name(reprocessing) or None,
        "error": reprocessing.error or None,
        "done_site_days": reprocessing.done_site_days,
        "create_time": reprocessing.create_time.ToJsonString(),
        "update_time": reprocessing.update_time.ToJsonString(),
        "expire_time": reprocessing.expire_time.ToJsonString() if reprocessing.HasField("expire_time") else None,
        "raw_repair": raw_repair_fields(reprocessing),
    }
    if reprocessing.HasField("receipt"):
        stored["receipt"] = receipt_fields(reprocessing.receipt)
    return (stored if reprocessing.name else {}) | {
        "kind": _kind_name(reprocessing),
        "logic": reprocessing.logic if reprocessing.HasField("logic") else None,
        "sites": [short_site_name(site) for site in reprocessing.sites],
        "site_count": reprocessing.site_count,
        "first_utc_date": date_text_of(reprocessing.first_utc_date),
        "last_utc_date": date_text_of(reprocessing.last_utc_date),
        "rules_version": reprocessing.rules_version if reprocessing.HasField("rules_version") else None,
        "warnings": warning_fields(reprocessing.warnings),
        "site_days": reprocessing.site_days,
        "following_site_days": reprocessing.following_site_days,
        "last_following_utc_date": date_text_of(reprocessing.last_following_utc_date)
        if reprocessing.following_site_days
        else None,
        "hits": reprocessing.hits,
        "minutes": _minutes(reprocessing.estimated_duration),
        "stages": [_stage_fields(stage) for stage in reprocessing.stages],
    }


def warning_fields(warnings: Iterable[pb.ReprocessingWarning]) -> list[dict[str, Any]]:
    """Return the JSON of warnings."""
    return [{"reason": each.reason, "hits": each.hits, "message": each.message} for each in warnings]


def warning_text(warning: pb.ReprocessingWarning) -> str:
    """Return a warning as a line."""
    return f"{warning.reason}: {warning.message}"


def state_name(reprocessing: pb.Reprocessing) -> str:
    """Return the state's name, such as "DIFF_READY", or "" for a plan that is not stored."""
    name = pb.ReprocessingState.Name(reprocessing.state).removeprefix("REPROCESSING_STATE_")
    return "" if reprocessing.state == pb.REPROCESSING_STATE_UNSPECIFIED else name


def count_of(site_days: int) -> str:
    """Return a number of site-days as text."""
    return counted(site_days, "site-day")


def stage_name(stage: pb.PlanStage) -> str:
    """Return the name of a stage, for example "recompute"."""
    return stage.WhichOneof("stage") or ""


def title_of(reprocessing: pb.Reprocessing) -> str:
    """Return a reprocessing's id, state and progress as text."""
    if not reprocessing.name:
        return "a plan that is not stored"
    work = _work_name(reprocessing)
    total, done = total_of(reprocessing), reprocessing.done_site_days
    progress = count_of(done) if total is None else f"{done:,} of {count_of(total)}"
    return f"{short_id(reprocessing.name)}  {state_name(reprocessing)}" + (f" ({work}: {progress})" if work else "")


def total_of(reprocessing: pb.Reprocessing) -> int | None:
    """Return the number of site-days that the current work processes, or None if the number is unknown.

    An erasure publishes only the site-days with the visitor's hits, so the number is unknown while an erasure
    publishes.
    """
    if (reprocessing.kind, reprocessing.work) == (pb.REPROCESSING_KIND_ERASE, pb.REPROCESSING_WORK_PUBLISH):
        return None
    return reprocessing.site_days + reprocessing.following_site_days


def _about(reprocessing: pb.Reprocessing) -> list[tuple[str, str]]:
    return [
        ("error", reprocessing.error),
        ("waits for", reprocessing.receipt.waiting),
        ("kind", _purpose(reprocessing)),
        ("sites", _sites(reprocessing)),
        ("UTC days", _days(reprocessing)),
        ("following", _following(reprocessing)),
        ("takes", _takes(reprocessing)),
        ("raw", _raw_repair_text(reprocessing)),
        *(("warning", warning_text(each)) for each in reprocessing.warnings),
        ("expires", reprocessing.expire_time.ToJsonString() if reprocessing.HasField("expire_time") else ""),
    ]


def _takes(reprocessing: pb.Reprocessing) -> str:
    """Return the estimated time until the plan's difference can be read; "" if the difference is ready."""
    if reprocessing.state not in _BEFORE_RESULT:
        return ""
    return f"{_about_minutes(reprocessing.estimated_duration)} until the difference can be read"


def _raw_repair_text(reprocessing: pb.Reprocessing) -> str:
    """Return a text about a repair's restored and lost hits, or "" if no raw record was missing."""
    repair = reprocessing.raw_repair
    records, hits = counted(repair.restored_records, "record"), counted(repair.restored_hits, "hit")
    restored = f"{records} with {hits} restored from the log"
    if not repair.lost_site_days:
        return restored if repair.restored_records else ""
    named = ", ".join(
        f"{short_site_name(each.site)} {date_text_of(each.utc_date)}{' (kept as it is)' if each.kept else ''}"
        for each in repair.lost[:MAX_SITES]
    )
    verb = "is" if repair.lost_hits == 1 else "are"
    more = repair.lost_site_days - min(len(repair.lost), MAX_SITES)
    return (
        f"{restored}; {counted(repair.lost_hits, 'hit')} of {count_of(repair.lost_site_days)} {verb} lost: {named}"
        f"{f', {more:,} more: give -o json' if more > 0 else ''}"
    )


def lost_text(repair: pb.RawRepair) -> str:
    """Return a text about hits that a repair could not restore, with the remedy, or "" if no hit is lost."""
    if not repair.lost_site_days:
        return ""
    kept = [each for each in repair.lost if each.kept]
    named = ", ".join(f"{short_site_name(each.site)} {date_text_of(each.utc_date)}" for each in kept[:MAX_SITES])
    more = f" and {len(kept) - MAX_SITES:,} more" if len(kept) > MAX_SITES else ""
    reports = f", and reports keep the numbers of {named}{more}" if kept else ""
    return (
        f"not repaired: {repair.lost_hits:,} hits of {count_of(repair.lost_site_days)} are lost, because neither the "
        f"raw store nor the log has them{reports}; {BACKUP_CURE}"
    )


def raw_repair_fields(reprocessing: pb.Reprocessing) -> dict[str, Any] | None:
    """Return the JSON about a repair's restored and lost hits, or None for other kinds of plans."""
    if not reprocessing.HasField("raw_repair"):
        return None
    repair = reprocessing.raw_repair
    return {
        "restored_records": repair.restored_records,
        "restored_hits": repair.restored_hits,
        "lost_hits": repair.lost_hits,
        "lost_site_days": repair.lost_site_days,
        "lost": [
            {
                "site": short_site_name(each.site),
                "utc_date": date_text_of(each.utc_date),
                "hits": each.hits,
                "kept": each.kept,
            }
            for each in repair.lost
        ],
    }


def _work_of(stage: pb.PlanStage, kind: pb.ReprocessingKind.ValueType) -> str:
    fields = _stage_fields(stage)
    days = int(fields.get("site_days", 0))
    if "site_days" in fields and not days:
        return "skip: no settled site-day"
    match stage_name(stage):
        case "scan":
            return f"{count_of(days)}, {counted(stage.scan.hits, 'hit')}, about {stage.scan.raw_bytes / 1e6:,.1f} MB"
        case "recompute":
            logic = f"logic {stage.recompute.logic}" if stage.recompute.HasField("logic") else "the logic of each day"
            minutes = _about_minutes(stage.recompute.estimated_duration)
            return f"{count_of(days)} under {logic}, {minutes}; no report reads the result"
        case "retire":
            keep = stage.retire.keep_days
            if kind == pb.REPROCESSING_KIND_ERASE:
                return "remove the replaced rows at once"
            return f"keep the replaced rows for {counted(keep, 'day')}" if keep else "skip: no replaced rows"
        case _:
            return count_of(days)


def _stage_fields(stage: pb.PlanStage) -> dict[str, Any]:
    name = stage_name(stage)
    fields: dict[str, Any] = {}
    match name:
        case "scan":
            scan = stage.scan
            fields = {"site_days": scan.site_days, "hits": scan.hits, "raw_bytes": scan.raw_bytes}
        case "recompute":
            fields = {
                "logic": stage.recompute.logic if stage.recompute.HasField("logic") else None,
                "site_days": stage.recompute.site_days,
                "minutes": _minutes(stage.recompute.estimated_duration),
            }
        case "compare":
            fields = {"site_days": stage.compare.site_days}
        case "publish":
            fields = {"site_days": stage.publish.site_days}
        case "retire":
            fields = {"keep_days": stage.retire.keep_days}
    return {"stage": name, **fields}


def _purpose(reprocessing: pb.Reprocessing) -> str:
    version = f"version {reprocessing.rules_version}" if reprocessing.HasField("rules_version") else ""
    return " ".join((_kind_name(reprocessing), reprocessing.logic, version)).strip().replace("  ", " ")


def _kind_name(reprocessing: pb.Reprocessing) -> str:
    return pb.ReprocessingKind.Name(reprocessing.kind).removeprefix("REPROCESSING_KIND_").lower()


def _work_name(reprocessing: pb.Reprocessing) -> str:
    is_set = reprocessing.work != pb.REPROCESSING_WORK_UNSPECIFIED
    return pb.ReprocessingWork.Name(reprocessing.work).removeprefix("REPROCESSING_WORK_") if is_set else ""


def _sites(reprocessing: pb.Reprocessing) -> str:
    shown = [short_site_name(site) for site in reprocessing.sites[:MAX_SITES]]
    more = reprocessing.site_count - len(shown)
    return ", ".join([*shown, *([f"{more:,} more"] if more > 0 else [])])


def _days(reprocessing: pb.Reprocessing) -> str:
    return f"{date_text_of(reprocessing.first_utc_date)} to {date_text_of(reprocessing.last_utc_date)}"


def _following(reprocessing: pb.Reprocessing) -> str:
    """Return a text about the following days, whose visits change because the planned days change.

    Until the plan is run, the following days are unknown.
    """
    if reprocessing.following_site_days:
        last = date_text_of(reprocessing.last_following_utc_date)
        return f"{count_of(reprocessing.following_site_days)} up to {last}; their visits change with the planned days"
    is_planned = state_name(reprocessing) in ("", "PLANNED")
    if not is_planned or not reprocessing.site_days or reprocessing.kind == pb.REPROCESSING_KIND_ERASE:
        return ""
    return "later days whose visits change too; `run` finds these days, and `diff` shows them"


def _minutes(duration: Duration) -> float:
    return round(duration.ToMilliseconds() / _MS_PER_MINUTE, 3)


def _about_minutes(duration: Duration) -> str:
    minutes = _minutes(duration)
    return f"about {minutes:,.1f} minutes" if minutes >= 0.1 else "less than 0.1 minutes"
