"""Test how the first operator gets a key: a control process, `hitmesh init`'s token, and `hitmesh operators claim`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc, operations_pb2, operations_pb2_grpc
from hitmesh.tools.cli.init import offer_token
from tests.support.mesh import environment
from tests.support.patience import patient
from tests.support.rpc_reasons import reason_of


class Control:
    """A control process on files, whose whole output is in `log`."""

    def __init__(self, directory: Path) -> None:
        self.store, self.log = f"embedded:{directory / 'data'}", directory / "control.log"
        (directory / "data").mkdir()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "control"],
                env=environment(HITMESH_CONTROL_STORE=self.store, HITMESH_CONTROL_LOG_LEVEL="debug"),
                stdout=log,
                stderr=log,
            )

    def serving(self) -> str:
        """Return the address, once the process serves."""
        while self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if '"serving"' in line:
                    return f"127.0.0.1:{json.loads(line)['port']}"
        raise AssertionError(self.log.read_text())


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    started = Control(tmp_path)
    yield started
    started.process.terminate()
    started.process.wait()


def token_of(control: Control, capsys: pytest.CaptureFixture[str], *, wanted: bool = False) -> str:
    """Return the token that `hitmesh init` prints; empty if `hitmesh init` prints no token."""
    offer_token(control.store, wanted=wanted)
    return capsys.readouterr().out.removeprefix("bootstrap token: ").strip()


def claim(endpoint: str, key_file: Path, token: str) -> subprocess.CompletedProcess[str]:
    command = ["operators", "claim", "--endpoint", endpoint, "--key-file", str(key_file), "-o", "json"]
    return subprocess.run(
        [sys.executable, "-m", "hitmesh.tools.cli", *command],
        env=environment(),
        input=token,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(60)
def test_the_first_operator_gets_a_key_for_the_token_once(
    control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = control.serving()
    token = token_of(control, capsys)
    assert len(token) > 40
    key_file = tmp_path / "operator.key"
    done = claim(endpoint, key_file, token + "\n")
    assert done.returncode == 0, done.stderr
    secret = key_file.read_text().strip()
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert secret not in done.stdout + done.stderr

    with grpc.insecure_channel(endpoint) as channel:
        ledger = operations_pb2_grpc.OperationsServiceStub(channel).GetSitelessLedger
        request, timeout = operations_pb2.GetSitelessLedgerRequest(), patient(20)
        with pytest.raises(grpc.RpcError) as refused:  # the token itself gives no right
            ledger(request, metadata=(("authorization", f"Bearer {token}"),), timeout=timeout)
        assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
        assert ledger(request, metadata=(("authorization", f"Bearer {secret}"),), timeout=timeout) is not None

    again = claim(endpoint, tmp_path / "second.key", token)
    assert again.returncode == 64 + 16
    assert "was used or replaced" in again.stderr
    assert not (tmp_path / "second.key").exists()
    assert token_of(control, capsys) == ""  # the mesh has an operator
    assert token_of(control, capsys, wanted=True) != ""
    for hidden in (token, secret):
        assert hidden not in control.log.read_text()
        assert hidden not in again.stdout + again.stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("token", "reason"), [("", "MISSING_FIELD"), ("x" * 257, "INVALID_FIELD"), ("hmb_guess", "UNKNOWN_KEY")]
)
def test_a_wrong_token_is_refused(control: Control, token: str, reason: str) -> None:
    with grpc.insecure_channel(control.serving()) as channel:
        request = admin_pb2.ExchangeBootstrapTokenRequest(token=token)
        with pytest.raises(grpc.RpcError) as refused:
            admin_pb2_grpc.AdminServiceStub(channel).ExchangeBootstrapToken(request, timeout=patient(20))
    assert reason_of(refused.value).split()[1] == reason
    assert not token or token not in str(refused.value.details())


@pytest.mark.timeout(60)
def test_a_key_file_that_exists_is_kept_and_the_token_is_not_used(
    control: Control, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint, token = control.serving(), token_of(control, capsys)
    existing = tmp_path / "operator.key"
    existing.write_text("kept")
    assert claim(endpoint, existing, token).returncode == 2
    assert existing.read_text() == "kept"
    assert claim(endpoint, tmp_path / "none" / "operator.key", token).returncode == 2
    assert claim(endpoint, tmp_path / "new.key", "").returncode == 2
    assert claim(endpoint, tmp_path / "new.key", token).returncode == 0
    assert os.access(tmp_path / "new.key", os.R_OK)
