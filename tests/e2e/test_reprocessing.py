"""A bug in the visit rules, corrected afterwards: plan, compare, publish and roll back, while late hits arrive.

A mesh with logic v0, whose visits end after 3 minutes, counts a real day of a shop. The mesh then runs the current
logic: settled days keep v0 until a reprocessing changes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import Mesh, one_json_line

SITE = "demo/corrected"
DAY = "2019-10-01"
METRICS = ("visits", "bounces", "visit_duration_total")
UNDER_V0 = (5_272, 2_192, 524_463)
UNDER_V1 = (4_518, 1_664, 793_204)
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


@pytest.fixture(scope="module")
def corrected(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...], shop_csv: Path) -> Iterator[Mesh]:
    """Return a mesh with the current logic whose shop was counted under v0."""
    mesh = Mesh(tmp_path_factory.mktemp("corrected") / "home", backend=backend)
    mesh.options = ("--no-demo-data", "--logic", "v0")
    mesh.start()
    try:
        import_shop(mesh, shop_csv)
        assert numbers(mesh) == UNDER_V0
        assert mesh.stop() == 0
        mesh.options = ("--no-demo-data",)
        mesh.start()
        yield mesh
        assert mesh.stop() == 0
    finally:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill_everything()
        mesh.drop_from_servers()


def import_shop(mesh: Mesh, file: Path) -> None:
    mesh.cli("import", "shop-csv", str(file), "--site", SITE, "--currency", "USD", timeout_s=300)


def numbers(mesh: Mesh) -> tuple[int, ...]:
    """Return METRICS of the day."""
    out = mesh.cli(
        *("query", "--site", SITE, "--metrics", ",".join(METRICS), "--since", DAY, "--until", DAY),
        *("--tz", "UTC", "--include-excluded", "--grain", "none", "-o", "json"),
    )
    (row,) = one_json_line(out)["rows"]
    return tuple(row[metric] for metric in METRICS)


def reprocess(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """Run a command that must succeed; return its JSON."""
    found: dict[str, Any] = one_json_line(mesh.cli("reprocess", *arguments, "-o", "json", timeout_s=300))
    return found


def a_late_view(mesh: Mesh, folder: Path, visitor: int) -> None:
    """Import a view of a new visitor on the settled day: a visit and a bounce more, under any logic."""
    file = folder / f"late-{visitor}.csv"
    with file.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(FIELDS)
        writer.writerow([f"{DAY} 05:00:00 UTC", "view", 1, 1, "", "", "9.99", visitor, f"late-{visitor}"])
    import_shop(mesh, file)


def assert_balanced(mesh: Mesh) -> None:
    assert one_json_line(mesh.cli("ledger", "--site", SITE, "-o", "json"))["imbalance"] == 0


def more(known: tuple[int, ...], late: int) -> tuple[int, ...]:
    """Return the numbers with late views of new visitors."""
    return (known[0] + late, known[1] + late, known[2])


@pytest.mark.timeout(600)
def test_history_is_corrected_rolled_back_and_corrected_again_while_late_hits_arrive(
    corrected: Mesh, tmp_path: Path
) -> None:
    mesh = corrected
    assert numbers(mesh) == UNDER_V0, "a restart with another logic changes no settled day"
    a_late_view(mesh, tmp_path, 1)
    assert numbers(mesh) == more(UNDER_V0, 1), "a late hit is settled under the logic of the day"

    planned = reprocess(mesh, "plan", "--site", SITE, "--since", DAY, "--until", DAY)
    assert (planned["site_days"], planned["hits"]) == (1, 17_435)
    assert [stage["stage"] for stage in planned["stages"]] == ["scan", "recompute", "compare", "publish", "retire"]
    id_ = planned["id"]
    reprocess(mesh, "run", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V0, 1), "no report reads the new numbers before they are published"
    arguments = ("--fail-above", "0.5%", "--cells", "--order-by", "visits", "--top", "100")
    done = mesh.run("reprocess", "diff", id_, *arguments, "-o", "json")
    assert done.code == 7, done.err
    found = json.loads(done.out)
    assert found["reasons"]["merged_visits"] - found["reasons"]["split_visits"] == 5_272 - 4_518
    assert (found["reasons"]["explained_site_days"], found["reasons"]["added_visits"]) == (1, 0)
    in_cells = [cell["metrics"]["visits"]["difference"] for cell in found["cells"] if "visits" in cell["metrics"]]
    assert sum(in_cells) == 4_518 - 5_272

    reprocess(mesh, "publish", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V1, 1)
    assert_balanced(mesh)
    a_late_view(mesh, tmp_path, 2)
    assert numbers(mesh) == more(UNDER_V1, 2), "a late hit keeps the published logic"

    reprocess(mesh, "rollback", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V0, 2), "a rollback keeps hits that arrived meanwhile"
    assert_balanced(mesh)
    reprocess(mesh, "publish", id_, "--wait")
    assert numbers(mesh) == more(UNDER_V1, 2)
    assert_balanced(mesh)

    again = reprocess(mesh, "plan", "--site", SITE, "--since", DAY, "--until", DAY, "--kind", "repair")
    reprocess(mesh, "run", again["id"], "--wait")
    assert mesh.run("reprocess", "diff", again["id"], "--fail-above", "0%", "-o", "json").code == 0, "nothing changed"
    reprocess(mesh, "cancel", again["id"])
    assert numbers(mesh) == more(UNDER_V1, 2)
