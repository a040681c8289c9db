"""A reprocessing and its plan as protobuf messages."""

from __future__ import annotations

from typing import Final, assert_never

from google.protobuf.duration_pb2 import Duration

from control.rpc.reprocessing.erasure import receipt_message
from control.rpc.reprocessing.names import name_of
from control.rpc.reprocessing.speed import Speed, plan_for
from control.rpc.reprocessing.transitions import expires_at, state_at
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.days import day_message
from hitmesh.model.plan import Compare, Kind, Publish, Recompute, Retire, Scan, Stage
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import RawRepair, Reprocessing, State
from hitmesh.runtime.rpc_values import timestamp

MAX_SHOWN_SITES: Final = 100


def planned_message(reprocessing: Reprocessing, speed: Speed) -> pb.Reprocessing:
    """Return a plan's content, without name, state and times."""
    plan = plan_for(reprocessing, speed)
    keeps_logic = reprocessing.kind is not Kind.LOGIC  # all other kinds keep each site-day's logic version
    return pb.Reprocessing(
        kind=pb.ReprocessingKind.Value(f"REPROCESSING_KIND_{reprocessing.kind.name}"),
        logic=None if keeps_logic else reprocessing.logic,
        sites=reprocessing.sites[:MAX_SHOWN_SITES],
        site_count=len(reprocessing.sites),
        first_utc_date=day_message(reprocessing.first_day),
        last_utc_date=day_message(reprocessing.end_day - 1),
        site_days=reprocessing.site_days,
        hits=reprocessing.hits,
        stages=[_stage_message(stage, keeps_logic=keeps_logic) for stage in plan.stages],
        estimated_duration=_duration(plan.seconds),
        rules_version=reprocessing.rules[0] if len(reprocessing.rules) == 1 else None,
        warnings=not_applicable_warnings(reprocessing.not_applicable),
        following_site_days=reprocessing.following,
        open_hits=reprocessing.open_hits,
        last_following_utc_date=day_message(reprocessing.reach - 1) if reprocessing.following else None,
    )


def not_applicable_warnings(hits: int) -> list[pb.ReprocessingWarning]:
    """Return a warning that rules of kind NETWORK cannot match `hits` hits; empty if `hits` is 0."""
    if not hits:
        return []
    text = (
        f"rules of kind NETWORK do not apply to {counted(hits, 'hit')}, because no truncated IP address was stored "
        "with these hits"
    )
    return [pb.ReprocessingWarning(reason=ErrorReason.RULE_NOT_APPLICABLE, hits=hits, message=text)]


def reprocessing_message(reprocessing: Reprocessing, now: int, speed: Speed) -> pb.Reprocessing:
    """Return a stored reprocessing as a message.

    Args:
        reprocessing: the reprocessing.
        now: the current time in UTC ms, which decides whether a plan is expired.
        speed: the speed for the estimated duration.
    """
    state = state_at(reprocessing, now)
    work = reprocessing.work
    message = planned_message(reprocessing, speed)
    message.MergeFrom(
        pb.Reprocessing(
            name=name_of(reprocessing.id),
            state=pb.ReprocessingState.Value(f"REPROCESSING_STATE_{state.name}"),
            work=pb.REPROCESSING_WORK_UNSPECIFIED
            if work is None
            else pb.ReprocessingWork.Value(f"REPROCESSING_WORK_{work.name}"),
            error=reprocessing.error,
            create_time=timestamp(reprocessing.created_at),
            update_time=timestamp(reprocessing.updated_at),
            expire_time=timestamp(expires_at(reprocessing)) if state in (State.PLANNED, State.EXPIRED) else None,
            done_site_days=reprocessing.done,
            raw_repair=None if reprocessing.raw_repair is None else _raw_repair_message(reprocessing.raw_repair),
            receipt=receipt_message(reprocessing),
        )
    )
    return message


def _raw_repair_message(repair: RawRepair) -> pb.RawRepair:
    lost = (
        pb.LostHits(site=each.site_day.site, utc_date=day_message(each.site_day.day), hits=each.hits, kept=each.kept)
        for each in repair.named
    )
    return pb.RawRepair(
        restored_records=repair.restored_records,
        restored_hits=repair.restored_hits,
        lost_hits=repair.lost_hits,
        lost_site_days=repair.lost_site_days,
        lost=lost,
    )


def _stage_message(stage: Stage, *, keeps_logic: bool) -> pb.PlanStage:
    match stage:
        case Scan(site_days=site_days, hits=hits, raw_bytes=raw_bytes):
            return pb.PlanStage(scan=pb.ScanStage(site_days=site_days, hits=hits, raw_bytes=raw_bytes))
        case Recompute(logic=logic, site_days=site_days, seconds=seconds):
            recompute = pb.RecomputeStage(
                logic=None if keeps_logic else logic, site_days=site_days, estimated_duration=_duration(seconds)
            )
            return pb.PlanStage(recompute=recompute)
        case Compare(site_days=site_days):
            return pb.PlanStage(compare=pb.CompareStage(site_days=site_days))
        case Publish(site_days=site_days):
            return pb.PlanStage(publish=pb.PublishStage(site_days=site_days))
        case Retire(keep_days=keep_days):
            return pb.PlanStage(retire=pb.RetireStage(keep_days=keep_days))
        case _:
            assert_never(stage)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1e3))
    return duration
