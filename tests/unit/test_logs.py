"""Test log lines: facts about the process, repeated lines, secrets, and a standard error that takes no lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from hitmesh.runtime.log_lines import MAX_TEXT_CHARS, LineWriter, RepeatLimit, without_secrets
from tests.support.patience import patient

JWT = "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"
BOOTSTRAP = "hmb_0123456789-0123456789"
KEY = "hms_0123456789-0123456789-0123456789"
# Writes lines in two threads: a plain line, a line about a partition, repeated lines, and a line that names a key.
_LINES = f"""
import threading
from hitmesh.runtime.logs import bound_to, configure, logger, write_suppressed

configure("info", "collector", "node-1")

def work():
    with bound_to(partition=3, site="merchants/a/sites/b"):
        logger().warning("store_waits", reason="UNAVAILABLE")
    for _ in range(25):
        logger().error("append_failed", reason="LOG_FULL", value=object())
    logger().error("refused", message="key {KEY} is unknown", body=b"payload")

thread = threading.Thread(target=work)
thread.start()
thread.join()
write_suppressed(everything=True)
logger().info("stopped")
print("end")
"""


def run(**options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _LINES], stdout=subprocess.PIPE, text=True, timeout=120, check=False, **options
    )


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(stderr=subprocess.PIPE).stderr.splitlines()]


def test_lines_of_every_thread_name_service_and_node(lines: list[dict[str, Any]]) -> None:
    assert {(line["service"], line["node"]) for line in lines} == {("collector", "node-1")}
    assert {"event", "level", "timestamp"} <= set.intersection(*map(set, lines))


def test_lines_of_a_partition_and_a_site_name_both_and_others_name_neither(lines: list[dict[str, Any]]) -> None:
    bound = [line for line in lines if "partition" in line or "site" in line]
    assert [(line["event"], line["partition"], line["site"]) for line in bound] == [
        ("store_waits", 3, "merchants/a/sites/b")
    ]


def test_repeated_lines_are_dropped_and_counted(lines: list[dict[str, Any]]) -> None:
    repeated = [line for line in lines if line["event"] == "append_failed"]
    assert len(repeated) == 11, "ten lines, then their rest in one line"
    assert [line.get("suppressed") for line in repeated] == [None] * 10 + [15]


def test_no_line_has_a_key_or_a_payload(lines: list[dict[str, Any]]) -> None:
    assert KEY not in json.dumps(lines)
    (refused,) = [line for line in lines if line["event"] == "refused"]
    assert refused["message"] == "key (hidden) is unknown"
    assert refused["body"] == "(7 bytes)"


@pytest.mark.parametrize("text", [f"Bearer {KEY}", f"authorization: bearer {JWT}", "a://u:p@h", JWT, BOOTSTRAP])
def test_secrets_in_texts_are_hidden(text: str) -> None:
    for value in (text, [text], ("a", [text])):
        written = str(without_secrets(None, "info", {"cause": value})["cause"])
        assert "(hidden)" in written
        assert not any(secret in written for secret in (KEY, JWT, BOOTSTRAP, "u:p"))


def test_secret_at_the_place_of_a_cut_is_hidden_as_a_whole() -> None:
    half = MAX_TEXT_CHARS // 2
    for shift in range(len(KEY) + 1):
        text = f"{'x ' * half}"[: half - shift] + f"{KEY} " + "y " * half
        assert "hms_" not in str(without_secrets(None, "info", {"cause": text})["cause"])


def test_long_text_keeps_its_beginning_and_its_end() -> None:
    cut = str(without_secrets(None, "info", {"traceback": f"first{'x' * 3 * MAX_TEXT_CHARS}last"})["traceback"])
    assert cut.startswith("first")
    assert cut.endswith("last")
    assert len(cut) < MAX_TEXT_CHARS + 100


def test_closed_standard_error_stops_no_work_and_writes_into_no_other_file(tmp_path: Path) -> None:
    script = f"import os; descriptor = os.open({str(tmp_path / 'a.db')!r}, os.O_CREAT | os.O_RDWR)\n{_LINES}"
    ran = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "end\n")
    assert (tmp_path / "a.db").read_bytes() == b""


def test_full_disk_stops_no_work() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device, no file of a store
        ran = run(stderr=full)
    assert (ran.returncode, ran.stdout) == (0, "end\n")


@pytest.fixture
def stalled_pipe() -> Iterator[int]:
    """A descriptor whose pipe is full, because nobody reads."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4_096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


def test_stalled_reader_of_standard_error_stops_no_work(stalled_pipe: int) -> None:
    ran = run(stderr=stalled_pipe)
    assert (ran.returncode, ran.stdout) == (0, "end\n")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, TextIO]]:
    """The reader's descriptor of a pipe, and the stream that stands for the process's standard error."""
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "__stderr__", stream)
    yield reader, stream
    stream.close()
    os.close(reader)


def test_stalled_reader_delays_only_one_line_and_damages_only_the_torn_line(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    within_s = patient(0.5)
    lines = LineWriter(stream, within_s)
    lines.msg("x" * 2_000_000)
    began_s = time.monotonic()
    for _ in range(200):
        lines.msg("lost")
    assert time.monotonic() - began_s < within_s, "no further line waits"
    torn = os.read(reader, 2_000_000)
    assert set(torn) == {ord("x")}
    lines.msg("first")
    lines.msg("second")
    assert os.read(reader, 100) == b"\nfirst\nsecond\n"
    began_s = time.monotonic()
    lines.msg("y" * 2_000_000)
    assert time.monotonic() - began_s >= within_s, "a pipe that took lines again is waited for again"


def test_line_for_a_stream_without_descriptor_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    LineWriter(sys.stderr).msg("a line")
    assert capsys.readouterr().err == "a line\n"


def kept(limit: RepeatLimit, **line: Any) -> dict[str, Any] | None:
    try:
        return dict(limit(None, "info", {"level": "info", "event": "e", **line}))
    except structlog.DropEvent:
        return None


def test_line_after_the_pause_states_how_many_were_dropped() -> None:
    now_s = [0.0]
    limit = RepeatLimit(2, 10.0, now_s=lambda: now_s[0])
    assert [kept(limit) is None for _ in range(5)] == [False, False, True, True, True]
    assert kept(limit, reason="OTHER") is not None, "another reason is another kind"
    now_s[0] = 10.0
    assert (kept(limit) or {})["suppressed"] == 3
    assert "suppressed" not in (kept(limit) or {})


def test_dropped_lines_are_counted_even_if_no_further_line_comes() -> None:
    now_s = [0.0]
    limit = RepeatLimit(1, 10.0, now_s=lambda: now_s[0])
    for _ in range(4):
        kept(limit)
    assert not list(limit.overdue())
    now_s[0] = 10.0
    assert list(limit.overdue()) == [("info", "e", {}, 3)]
    assert not list(limit.overdue(everything=True))


def test_summary_names_its_kind_and_passes_the_limit_with_its_count() -> None:
    now_s = [0.0]
    limit = RepeatLimit(1, 10.0, now_s=lambda: now_s[0])
    for _ in range(3):
        kept(limit, reason="LOG_FULL", partition=0, site=None, hits=5)
    now_s[0] = 10.0
    kept(limit, reason="LOG_FULL", partition=0)
    kept(limit, reason="LOG_FULL", partition=0)
    (summary,) = limit.overdue(everything=True)
    assert summary == ("info", "e", {"reason": "LOG_FULL", "partition": 0}, 1)
    for count in range(1, 5):
        assert (kept(limit, suppressed=count) or {})["suppressed"] == count


@pytest.mark.parametrize("field", ["date", "id", "thread", "source", "error", "worker", "owner"])
def test_lines_about_different_things_are_of_different_kinds(field: str) -> None:
    limit = RepeatLimit(1, 10.0)
    assert [kept(limit, **{field: value}) is None for value in "aab"] == [False, True, False]


def test_counts_of_kinds_that_are_forgotten_are_kept() -> None:
    limit = RepeatLimit(1, 10.0, max_kinds=4)
    for number in range(100):
        for _ in range(3):
            kept(limit, reason=str(number))
    found = list(limit.overdue(everything=True))
    assert sum(summary.lines for summary in found) == 200
    assert len(found) == 9, "four kinds, four that were replaced, and the rest without fields"
    for number in range(5):
        kept(limit, reason=str(number))
        kept(limit, reason=str(number))
    assert (kept(limit, reason="0") or {})["suppressed"] == 1


def test_number_of_remembered_kinds_is_bounded() -> None:
    limit = RepeatLimit(1, 10.0, max_kinds=8)
    for number in range(100):
        assert kept(limit, reason=str(number)) is not None
    assert kept(limit, reason="99") is None
    assert kept(limit, reason="0") is not None, "the oldest kind was forgotten"
