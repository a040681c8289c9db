"""What a site directory refuses, keeps and destroys. Decides; stores nothing and makes no randomness."""

from __future__ import annotations

from datetime import date, timedelta
from hashlib import sha256
from typing import Final

from hitmesh.model.errors import AlreadyExists
from hitmesh.model.sites import Site

SALT_BYTES: Final = 16
MESH_SECRET_BYTES: Final = 32
_ONE_DAY: Final = timedelta(days=1)


def secret_digest(secret: str) -> bytes:
    """Returns the only form in which a key's secret is kept: SHA-256 of its UTF-8."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def agreed(existing: Site, asked: Site) -> Site:
    """Returns the site that is there, when it is what was asked for.

    Raises:
        AlreadyExists: time zone, currency or policy differ.
    """
    for field, there, wanted in (
        ("time_zone", existing.time_zone, asked.time_zone),
        ("currency", existing.currency, asked.currency),
        ("policy", existing.policy, asked.policy),
    ):
        if there != wanted:
            raise AlreadyExists(
                f"site {existing.name} exists with {field} {there}, not {wanted}; "
                f"use what is there, or another site name",
                field=f"site.{field}",
            )
    return existing


def salted_date(local_date: date, today: date) -> date:
    """Returns the date whose salt serves `local_date`: its own when it is a neighbour of `today`, else today's."""
    return local_date if abs(local_date - today) <= _ONE_DAY else today


def oldest_salted(today: date) -> date:
    """Returns the oldest date whose salt a site keeps on `today` (rule I2)."""
    return today - _ONE_DAY


def oldest_salted_anywhere(today: date) -> date:
    """Returns the oldest date whose salt any site keeps: elsewhere it may still be the day before `today`."""
    return oldest_salted(today) - _ONE_DAY
