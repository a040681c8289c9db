"""Run the commands with which an operator lets a shadow stream take over the open days."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.mesh import Mesh, one_json_line
from tests.support.waiting import eventually

SITE = "demo/corrected"
FIELDS = (
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
)


def import_shop(mesh: Mesh, file: Path, site: str = SITE) -> dict[str, Any]:
    """Import a file, and return the printed counts."""
    arguments = ("import", "shop-csv", str(file), "--site", site, "--currency", "USD", "-o", "json")
    counts: dict[str, Any] = one_json_line(mesh.cli(*arguments, timeout_s=300))
    return counts


def await_visits(mesh: Mesh, expected: int, why: str) -> None:
    """Wait until the site has `expected` visits of yesterday and today, on both serving paths."""
    question = ("query", "--site", SITE, "--metrics", "visits", "--last", "2d", "--grain", "none", "-o", "json")

    def are_there() -> bool:
        answers = (one_json_line(mesh.cli(*question, *more))["rows"] for more in ((), ("--dimensions", "channel")))
        return all(sum(row["visits"] for row in rows) == expected for rows in answers)

    eventually(are_there, f"{expected} visits: {why}", 60)


def shadow(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """Run a `hitmesh shadow` command that must succeed; return its JSON."""
    found: dict[str, Any] = one_json_line(mesh.cli("shadow", *arguments, "-o", "json", timeout_s=300))
    return found


def live_views(mesh: Mesh, file: Path, visitor: int) -> None:
    """Import four views of a visitor in the last 40 minutes."""
    now = datetime.now(UTC)
    times = [now - timedelta(minutes=minutes) for minutes in (38, 28, 18, 8)]
    with file.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(FIELDS)
        for time in times:
            writer.writerow([f"{time:%Y-%m-%d %H:%M:%S} UTC", "view", 1, 1, "", "", "9.99", visitor, f"live-{visitor}"])
    import_shop(mesh, file)


def take_over(mesh: Mesh, folder: Path) -> None:
    """Correct the open days with a shadow stream, roll back, correct the days again, and keep the corrected stream."""
    processes = sorted(mesh.children())
    live_views(mesh, folder / "first.csv", 1)
    await_visits(mesh, 4, "a visit for each view under v0")
    started = shadow(mesh, "start", "--logic", "v1")
    assert (started["state"], started["logic"]) == ("RUNNING", "v1")
    await_visits(mesh, 4, "no report reads a shadow that is not published")
    assert shadow(mesh, "publish", "--wait")["state"] == "PUBLISHED"
    await_visits(mesh, 1, "a single visit under v1")
    live_views(mesh, folder / "second.csv", 2)
    await_visits(mesh, 2, "a further visit under v1")
    eventually(lambda: compared(mesh, "--site", SITE) == (8, 2, 0), "both streams have counted all hits", 60)
    assert shadow(mesh, "rollback")["state"] == "RUNNING"
    await_visits(mesh, 8, "a rollback keeps hits that arrived meanwhile")
    shadow(mesh, "publish", "--wait")
    await_visits(mesh, 2, "published again")
    assert shadow(mesh, "stop", "--wait")["state"] is None
    live_views(mesh, folder / "third.csv", 3)
    await_visits(mesh, 3, "the processor goes on under v1")
    assert sorted(mesh.children()) == processes, "nothing was restarted"
    assert_balanced(mesh)


def compared(mesh: Mesh, *arguments: str) -> tuple[int, int, int]:
    """Return the visits of both streams, and the difference between their hits.

    The difference may be non-zero for some seconds, because one stream may process a hit earlier than the other.
    """
    totals = shadow(mesh, "diff", *arguments)["totals"]
    return totals["visits"]["old"], totals["visits"]["new"], totals["hits"]["difference"]


def assert_balanced(mesh: Mesh, site: str = SITE) -> None:
    assert one_json_line(mesh.cli("ledger", "--site", site, "-o", "json"))["imbalance"] == 0
