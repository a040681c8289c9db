"""What tests through the door share: the day of their hits, and questions from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.mesh import Mesh

NOON_MS = round(datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp()) * 1_000
DAY = datetime(2026, 3, 5, tzinfo=UTC).date()


def short(site: str) -> str:
    """Return the name of a site as commands take it."""
    merchant, _, name = site.removeprefix("merchants/").partition("/sites/")
    return f"{merchant}/{name}"


def run_query(mesh: Mesh, site: str, *arguments: str) -> str:
    """Return what `hitmesh query` prints."""
    return mesh.cli("query", "--site", short(site), *arguments)
