"""Test the parts of `hitmesh load` that send nothing.

The tests cover the process that encodes hits, the resource usage of the mesh's processes, and the check of the target.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hitmesh.model.errors import HitmeshError
from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.load import is_loopback, sending_line
from hitmesh.tools.load.plan import LoadPlan
from hitmesh.tools.load.processes import ProcessWatch, descendants, mesh_pids
from hitmesh.tools.load.producer import Producer
from hitmesh.tools.load.show import Live
from hitmesh.tools.load.tally import Progress
from hitmesh.tools.load.traffic import Traffic

PLAN = LoadPlan(rate=200, duration_s=1, sites=2, max_frame_hits=10)
START_MS = 1_790_000_000_000


# -------------------------------------------------------------------------------------------------------- processes


def test_encoding_process_hands_over_the_same_frames_within_its_bound() -> None:
    frames = list(Traffic(PLAN, dict.fromkeys(PLAN.used_sites, "key"), START_MS))
    keys = dict.fromkeys(PLAN.used_sites, "key")
    with Producer(PLAN, ahead_bytes=1) as producer:
        producer.wait_ready()
        producer.start(keys, START_MS)
        assert list(producer.frames()) == frames
        assert set(producer.visits) == set(keys)
        pid = producer.pid
    assert pid not in [process.pid for process in descendants(os.getpid())]


def test_encoding_process_that_dies_is_an_error_and_not_an_early_end() -> None:
    endless = LoadPlan(rate=1_000, duration_s=3_600, sites=2)
    with Producer(endless, ahead_bytes=1) as producer:
        producer.wait_ready()
        producer.start(dict.fromkeys((0, 1), "key"), START_MS)
        frames = producer.frames()
        assert next(frames).number == 0
        os.kill(producer.pid, 9)
        with pytest.raises(HitmeshError, match="ended too early"):
            list(frames)


def test_usage_of_processes_is_read_and_a_mesh_elsewhere_has_none(tmp_path: Path) -> None:
    watch = ProcessWatch({os.getpid(): "tests", 2**22 + 1: "nobody"})
    watch.look()
    (usage,) = watch.usages()
    assert (usage.name, usage.pid) == ("tests", os.getpid())
    assert usage.max_rss_mib > 10
    assert mesh_pids(tmp_path, "127.0.0.1:1") == (
        {},
        f"not measured, because {tmp_path / 'ready.json'} is missing or invalid: name the mesh's home with --home",
    )
    (tmp_path / "ready.json").write_text('{"grpc": "127.0.0.1:2", "pid": 1}')
    assert f"{tmp_path} is not the home of the mesh at 127.0.0.1:1" in mesh_pids(tmp_path, "127.0.0.1:1")[1]
    (tmp_path / "ready.json").write_text(f'{{"grpc": "127.0.0.1:1", "pid": {os.getpid()}, "servers": {{"kafka": 7}}}}')
    assert mesh_pids(tmp_path, "127.0.0.1:1")[0][7] == "kafka"


# ------------------------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1:8080", True),
        ("127.8.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost:8080", True),
        ("0.0.0.0:8080", False),
        ("10.0.0.1:8080", False),
        ("localhost.example.com:8080", False),
        ("[2001:db8::1]:8080", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, is_here: bool) -> None:
    assert is_loopback(address) is is_here


def test_load_refuses_a_target_elsewhere_before_it_connects(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(["load", "--endpoint", "shop.example:443", "--home", str(tmp_path)]) == 2
    assert "--i-own-this-target" in capsys.readouterr().err
    monkeypatch.setenv("HITMESH_ENDPOINT", "192.0.2.1:8080")
    assert run(["load", "--home", str(tmp_path), "-o", "json"]) == 2
    assert "NOT_LOOPBACK" in capsys.readouterr().err


def test_line_of_a_running_load_shows_rates_waiting_bytes_and_lag() -> None:
    line = sending_line(Live(2.0, Progress(4_000, 0, 3_000, 0, 0), 1_500_000, 0.44))
    assert line == "sending: offered 2,000/s, acknowledged 1,500/s, waiting 1.5 MB, lag 0.4 s"
    line = sending_line(Live(2.0, Progress(4_000, 100, 3_000, 0, 0), 0, None))
    assert line.endswith("lag ?, not sent 100")
