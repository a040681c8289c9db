"""Encode and decode reprocessings and their recomputed site-days, in the same way for every store.

A value is compressed and sealed (hitmesh.model.stored). The value contains the key under which the value is stored, so
that a value under a wrong key is detected. Python's json module writes the numbers, because checksums and sums exceed
orjson's range. In the value of a recomputed site-day, two carries follow the JSON text, as bytes. A carry contains the
visits that are open at the end of a day.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Final

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.errors import AlreadyExists, StoreCorrupt
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.reprocessings import (
    Change,
    GenerationVersion,
    LostHits,
    OnDamage,
    Part,
    RawRepair,
    Rebuilt,
    Reprocessing,
    RestoredRecord,
    State,
    Work,
)
from hitmesh.model.sites import SiteDay
from hitmesh.model.stored import COPY_CURE, decoding, opened, sealed

_LENGTHS: Final = struct.Struct("<II")  # the length of the JSON text, then the length of the first of two carries
_LEVEL: Final = 1  # the fastest compression, because the settler compresses values between two passes
_REBUILT_CURE: Final = "plan a new reprocessing of the day"


def newest_first(reprocessings: Iterable[Reprocessing]) -> list[Reprocessing]:
    """Return reprocessings ordered by (created_at, id), descending."""
    return sorted(reprocessings, key=lambda reprocessing: (reprocessing.created_at, reprocessing.id), reverse=True)


def reprocessings_of(rows: Iterable[tuple[str, bytes]], on_damage: OnDamage | None) -> list[Reprocessing]:
    """Return the reprocessings in stored values, newest first.

    Args:
        rows: the ids and values.
        on_damage: called with the error for each damaged value; the damaged value is not returned.

    Raises:
        StoreCorrupt: a value is damaged, and `on_damage` is None.
    """
    found = []
    for id_, value in rows:
        try:
            found.append(reprocessing_of(id_, value))
        except StoreCorrupt as error:
            if on_damage is None:
                raise
            on_damage(error)
    return newest_first(found)


def taken(id_: str) -> AlreadyExists:
    """Return the error for a second reprocessing with the same id."""
    return AlreadyExists(f"a reprocessing with the id {id_} exists; use another id", field="id", value=id_)


def reprocessing_value(reprocessing: Reprocessing) -> bytes:
    """Return a reprocessing as bytes."""
    return sealed(zlib.compress(json.dumps(asdict(reprocessing)).encode(), _LEVEL))


def reprocessing_of(id_: str, value: bytes) -> Reprocessing:
    """Return the reprocessing in a stored value.

    Raises:
        StoreCorrupt: the value is damaged, or belongs to another id.
    """
    subject = f"reprocessing {id_}"
    inner = opened(value, subject, COPY_CURE)
    with decoding(subject, COPY_CURE):
        fields = json.loads(zlib.decompress(inner))
        work = fields["work"]
        reprocessing = Reprocessing(
            **{
                **fields,
                "kind": Kind(fields["kind"]),
                "sites": tuple(fields["sites"]),
                "rules": tuple(fields.get("rules", ())),
                "visitors": tuple(fields.get("visitors", ())),
                "state": State(fields["state"]),
                "work": None if work is None else Work(work),
                "parts": tuple(map(_part, fields.get("parts", ()))),
                "raw_repair": _raw_repair(fields.get("raw_repair")),
            }
        )
    _refuse_another(subject, COPY_CURE, id_, reprocessing.id)
    return reprocessing


def rebuilt_value(rebuilt: Rebuilt) -> bytes:
    """Return a recomputed site-day as bytes."""
    text = json.dumps(
        {
            "site_day": rebuilt.site_day,
            "before": _version_fields(rebuilt.before),
            "after": _version_fields(rebuilt.after),
            "sequence": rebuilt.sequence,
            "flags": [[*position, row, flag] for (position, row), flag in rebuilt.flags.items()],
            "changes": {name: [change.old, change.new] for name, change in rebuilt.changes.items()},
            "disturbed_days": sorted(rebuilt.disturbed_days),
            "reasons": None if rebuilt.reasons is None else asdict(rebuilt.reasons),
            "not_applicable": rebuilt.not_applicable,
        }
    ).encode()
    lengths = _LENGTHS.pack(len(text), len(rebuilt.before.carry))
    return sealed(zlib.compress(b"".join((lengths, text, rebuilt.before.carry, rebuilt.after.carry)), _LEVEL))


def rebuilt_of(id_: str, site_day: SiteDay, value: bytes) -> Rebuilt:
    """Return the recomputed site-day in a stored value.

    Raises:
        StoreCorrupt: the value is damaged, or belongs to another site-day.
    """
    subject = subject_of(id_, site_day)
    inner = opened(value, subject, _REBUILT_CURE)
    with decoding(subject, _REBUILT_CURE):
        content = zlib.decompress(inner)
        text_bytes, carry_bytes = _LENGTHS.unpack_from(content)
        carries = _LENGTHS.size + text_bytes
        fields = json.loads(content[_LENGTHS.size : carries])
        rebuilt = Rebuilt(
            SiteDay(*fields["site_day"]),
            _version(fields["before"], content[carries : carries + carry_bytes]),
            _version(fields["after"], content[carries + carry_bytes :]),
            fields["sequence"],
            {(Position(log, number, offset), row): flag for log, number, offset, row, flag in fields["flags"]},
            {name: Change(*sums) for name, sums in fields["changes"].items()},
            frozenset(fields["disturbed_days"]),
            _reasons(fields.get("reasons")),
            fields.get("not_applicable", 0),
        )
    _refuse_another(subject, _REBUILT_CURE, site_day, rebuilt.site_day)
    return rebuilt


def subject_of(id_: str, site_day: SiteDay) -> str:
    """Return the text that names a recomputed site-day in error messages."""
    return f"the recomputed day {site_day.day} of {site_day.site} in reprocessing {id_}"


def incomplete(id_: str, site_day: SiteDay, pieces: int, expected: int) -> StoreCorrupt:
    """Return the error for a recomputed site-day whose value lacks pieces."""
    subject = subject_of(id_, site_day)
    return StoreCorrupt(
        f"{subject} has {pieces} of {expected} pieces; {_REBUILT_CURE}", place=subject, pieces=pieces, expected=expected
    )


def _part(fields: Mapping[str, Any]) -> Part:
    return Part(
        **{
            **fields,
            "work": Work(fields["work"]),
            "buckets": tuple(fields["buckets"]),
            "raw_repair": _raw_repair(fields.get("raw_repair")),
        }
    )


def _raw_repair(fields: Mapping[str, Any] | None) -> RawRepair | None:
    """Return a repair's findings; None for a value that an earlier version of hitmesh stored."""
    if fields is None:
        return None
    named = (LostHits(SiteDay(*each["site_day"]), each["hits"], each["kept"]) for each in fields["named"])
    restored = (RestoredRecord(Position(*position), hits) for position, hits in fields.get("restored", ()))
    return RawRepair(**{**fields, "named": tuple(named), "restored": tuple(restored)})


def _version_fields(version: GenerationVersion) -> dict[str, Any]:
    return {
        "generation": version.generation,
        "logic": version.logic,
        "read_through": [[*partition, offset] for partition, offset in version.read_through.items()],
        "ledger": asdict(version.ledger),
        "rules": version.rules,
    }


def _version(fields: Mapping[str, Any], carry: bytes) -> GenerationVersion:
    read_through = {PartitionId(log, partition): offset for log, partition, offset in fields["read_through"]}
    ledger = LedgerEntry(**fields["ledger"])
    # A value that an earlier version of hitmesh stored has no field `rules`. The default 0 means that the collector
    # decided which hits are excluded.
    return GenerationVersion(fields["generation"], fields["logic"], read_through, ledger, carry, fields.get("rules", 0))


def _reasons(fields: Mapping[str, int] | None) -> ChangeReasons | None:
    """Return the stored reasons; None for a value that an earlier version of hitmesh stored."""
    return None if fields is None else ChangeReasons(**fields)


def _refuse_another(subject: str, cure: str, key: object, found: object) -> None:
    if found != key:
        raise StoreCorrupt(f"{subject} is stored under the key of another value; {cure}", place=subject)
