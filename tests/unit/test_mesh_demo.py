"""Test that `hitmesh dev` loads the generated shop once.

If loading fails, the retry generates the shop for the same time.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from hitmesh.tools.dev.demo import main
from hitmesh.tools.dev.home import Home
from hitmesh.tools.dev.tcp_ports import HOST, any_free


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.prepare()
    made.server_key.write_text("hms_a-key\n")
    return made


def nobody_listens() -> str:
    return f"{HOST}:{any_free(1)[0]}"


def test_shop_that_is_loaded_is_not_sent_again(home: Home) -> None:
    (home.demo_note).write_text(json.dumps({"now_ms": 1, "loaded": True}))
    assert main(str(home.root), nobody_listens()) == 0
    assert home.demo_is_loaded()


def test_failed_attempt_keeps_its_time_so_that_the_next_sends_the_same_hits(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(str(home.root), nobody_listens()) == 1
    assert "--no-demo-data" in capsys.readouterr().err
    first = json.loads((home.demo_note).read_text())
    assert first["loaded"] is False
    assert abs(first["now_ms"] - time.time() * 1000) < 600_000, "the shop ends at its first start"
    assert not home.demo_is_loaded()
    assert main(str(home.root), nobody_listens()) == 1
    assert json.loads((home.demo_note).read_text()) == first
