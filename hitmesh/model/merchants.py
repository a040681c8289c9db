"""The type for merchants, which the interface hitmesh.ports.merchants uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merchant:
    """A merchant, which owns sites and keys.

    `name` is the full name, `merchants/m`. Times are UTC ms. `revision` counts the changes since the creation.
    `deleted_at` is None for a merchant that exists. The record of a deleted merchant stays, so that the name is never
    given to another merchant.
    """

    name: str
    display_name: str = ""
    created_at: int = 0
    updated_at: int = 0
    revision: int = 0
    deleted_at: int | None = None
