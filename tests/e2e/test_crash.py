"""Every process is killed during an import.

The import then continues by itself, and in the end all numbers are correct.
"""

from __future__ import annotations

import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from hitmesh.tools.dev import tcp_ports
from tests.e2e.test_stream_protocol import MESSAGES_STAT
from tests.reference.files import read_access_log
from tests.support.comparison import Model, Question, ask, assert_equal, by_zone
from tests.support.mesh import Mesh, environment, hitmesh_command, one_json_line
from tests.support.patience import patient
from tests.support.waiting import eventually

SITE = "merchants/demo/sites/crash"
LINES = 15_000
SPAN = (date(2026, 2, 26), date(2026, 3, 9))
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0"


def write_log(path: Path) -> Path:
    """Write an access log of a week.

    Some visitors in the log return after exactly 30 minutes. A visit continues after a pause of 30 minutes,
    but ends after a longer pause.
    """
    dice = Random(5)
    visitors = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(6 * 86_400)) for _ in range(400)]
    with path.open("w") as log:
        for _ in range(LINES):
            number = dice.randrange(len(visitors))
            visitors[number] += timedelta(seconds=dice.choice((1, 30, 200, 1_799, 1_800, 1_801, 5_000)))
            time = f"{visitors[number]:%d/%b/%Y:%H:%M:%S +0000}"
            page = f"/page/{dice.randrange(40)}"
            log.write(f'10.0.{number // 256}.{number % 256} - - [{time}] "GET {page} HTTP/1.1" 200 9 "-" "{AGENT}"\n')
    return path


@pytest.mark.timeout(180)
def test_an_import_outlives_the_death_of_the_whole_mesh_and_a_second_one_changes_nothing(
    idle_mesh: Mesh, tmp_path: Path
) -> None:
    mesh, log = idle_mesh, write_log(tmp_path / "access.log")
    mesh.options = ("--no-demo-data", "--port", str(tcp_ports.any_free(1)[0]))
    mesh.start()
    command = ["import", "access-log", str(log), "--site", "demo/crash", "-o", "json", "--home", str(mesh.home)]
    with (tmp_path / "import.out").open("w+") as out, (tmp_path / "import.err").open("w+") as errors:
        importing = subprocess.Popen(
            [*hitmesh_command(), *command], env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        try:
            eventually(lambda: mesh.envoy_stat(MESSAGES_STAT) >= 5, "some batches are on their way", 30)
            mesh.kill_everything()
            assert importing.poll() is None
            mesh.start()
            code = importing.wait(patient(120))
        finally:
            importing.kill()
        out.seek(0)
        errors.seek(0)
        assert code == 0, errors.read()[-2_000:]
        summary = one_json_line(out.read())
    assert (summary["lines"], summary["sent"], summary["accepted"], summary["rejected"]) == (LINES, LINES, LINES, 0)
    assert summary["duplicate"] == 0, "what the import itself sent twice was not stored before"
    model = Model(read_access_log(log, SITE)[0])
    _assert_model(mesh, model)
    again = one_json_line(mesh.cli(*command[:-2]))
    assert again == summary | {"duplicate": LINES}
    _assert_model(mesh, model)
    assert mesh.stop() == 0


def _assert_model(mesh: Mesh, model: Model) -> None:
    reporter = mesh.reporter()
    for question in by_zone(Question(SITE, *SPAN), "DAY"):
        assert_equal(ask(reporter, question), model.answer(question), question, frozenset({"duplicate_hits"}))
