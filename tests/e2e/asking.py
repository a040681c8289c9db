"""The day of the end-to-end tests' hits, and queries on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.support.mesh import Mesh

NOON_MS = round(datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp()) * 1_000
DAY = datetime(2026, 3, 5, tzinfo=UTC).date()


def short(site: str) -> str:
    """Return a site's name in the short form that the commands accept."""
    merchant, _, name = site.removeprefix("merchants/").partition("/sites/")
    return f"{merchant}/{name}"


def run_query(mesh: Mesh, site: str, *arguments: str) -> str:
    """Return the output of `hitmesh query`."""
    return mesh.cli("query", "--site", short(site), *arguments)
