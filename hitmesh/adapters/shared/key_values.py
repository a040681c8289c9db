"""Convert the roles of a key to a column, in the same form for every store with tables."""

from __future__ import annotations

from collections.abc import Iterable

from hitmesh.model.sites import Role


def roles_value(roles: Iterable[Role]) -> str:
    """Return roles as a text such as `read,send`; an empty text for no roles."""
    return ",".join(sorted(roles))


def roles_of(value: str | None) -> frozenset[Role]:
    """Return the roles in a column. A key of a version before roles were stored has no roles."""
    return frozenset(map(Role, value.split(","))) if value else frozenset()
