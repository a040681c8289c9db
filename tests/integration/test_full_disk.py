"""Test a full disk. Writes fail while there is no space, and succeed without a restart once space is free again."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from io import FileIO
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import LogFull
from hitmesh.model.positions import LoggedPosition, Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.rows.columns import pack_record
from hitmesh.model.sites import Site
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.telemetry import unmeasured
from processor.__main__ import Worker, run_stream
from processor.settings import ProcessorSettings
from tests.reference.hits import RefHit
from tests.support.small_mesh import hit_rows
from tests.support.waiting import eventually

SITE = "merchants/m/sites/s"
DISK_BYTES = 3 << 20
WAIT_S = 120.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Provide a file system with a capacity of 3 MiB."""
    made = tmp_path / "disk"
    made.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(made)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems can be mounted by root only")
    yield made
    subprocess.run(["umount", "--lazy", str(made)], check=True)


def fill(disk: Path) -> Path:
    """Write a file until the disk is full."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        write_on(file)
    return ballast


def write_on(file: FileIO) -> None:
    for _ in range(DISK_BYTES):
        file.write(bytes(4_096))


def append(stores: Stores, clock: SystemClock, name: str) -> Future[LoggedPosition]:
    now = clock.now()
    rows = hit_rows([RefHit(SITE, "v", name, now, "PAGE_VIEW")])
    record = Record(RecordKind.HITS, pack_record(rows), 1, now, now, now)
    return stores.log.append(Topic.HITS, 0, record)


def test_stream_on_a_full_disk_waits_and_goes_on_by_itself_once_there_is_room(disk: Path) -> None:
    clock, stop = SystemClock(), threading.Event()
    url = f"embedded:{disk}/data"
    settings = ProcessorSettings.model_validate({"store": url, "cache": f"{disk}/cache"})
    stores, streams = open_stores(url, clock), open_stores(url, clock)
    stores.directory.create_site(Site(SITE, "UTC", "USD", b"secret"))
    first = append(stores, clock, "before").result(WAIT_S)
    worker = Worker("stream", lambda: run_stream(streams, clock, settings, unmeasured(), stop), stop)
    try:
        eventually(lambda: reached(stores) > first.position.offset, "the stream has read the first record", WAIT_S)
        ballast = fill(disk)
        names = (f"full-{number}" for number in range(1_000))
        assert any(taken(append(stores, clock, name)) is None for name in names), "no room is left"
        assert worker.cause is None
        ballast.unlink()
        after = eventually(lambda: taken(append(stores, clock, "after")), "a record is taken again", WAIT_S)
        assert after.position.offset > first.position.offset
        eventually(lambda: reached(stores) > after.position.offset, "the stream has read it", WAIT_S)
    finally:
        stop.set()
        worker.thread.join(WAIT_S)
        stores.close()
        streams.close()
    assert worker.cause is None


def taken(appended: Future[LoggedPosition]) -> LoggedPosition | None:
    try:
        return appended.result(WAIT_S)
    except LogFull:
        return None


def reached(stores: Stores) -> int:
    return max(done.next_offset for done in stores.progress.progress(Topic.HITS).values())
