"""Test that the built wheel is complete. The wheel is installed elsewhere and runs without the source tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from hitmesh import __version__
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hitmesh", "collector", "processor", "reporter", "control")
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source tree without a network."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a virtual environment with the wheel and this environment's regular (not editable) packages.

    A line in a .pth file makes this environment's packages importable. Python ignores .pth files inside a directory
    that a .pth file added. An editable installation needs a .pth file, so the source tree is not importable.
    """
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    site_packages = next(home.glob("lib/python*/site-packages"))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def elsewhere() -> dict[str, str]:
    """Return the environment variables without those that refer to the source tree or to a mesh."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HITMESH_"))}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=elsewhere(), capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_what_runs_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert "hitmesh/py.typed" in names
    assert any(name.startswith("hitmesh/_envoy/") for name in names)
    assert any(name.startswith("hitmesh/api/descriptors/") and name.endswith(".binpb") for name in names)


@pytest.mark.timeout(60)
def test_every_package_is_imported_from_where_the_wheel_was_installed(installed: Path, tmp_path: Path) -> None:
    script = f"import json, {', '.join(PACKAGES)}; print(json.dumps([{', '.join(f'{p}.__file__' for p in PACKAGES)}]))"
    done = run(installed / "bin" / "python", "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(Path(path).is_relative_to(installed) for path in json.loads(done.stdout))


@pytest.mark.timeout(60)
def test_the_source_tree_cannot_be_imported_there(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "bin" / "python", "-c", "import tests.reference", cwd=tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.timeout(60)
def test_the_installed_command_prints_its_version(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "bin" / "hitmesh", "version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


@pytest.mark.timeout(90)
def test_the_installed_command_starts_a_mesh_that_answers_and_stops(installed: Path, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    command = [str(installed / "bin" / "hitmesh"), "dev", "--no-demo-data"]
    options = ["--home", str(tmp_path / "home"), "--ready-file", str(ready_file)]
    output = tmp_path / "output.txt"
    with output.open("wb") as target:
        mesh = subprocess.Popen(
            [*command, *options], cwd=tmp_path, env=elsewhere(), stdout=target, stderr=subprocess.STDOUT
        )
    try:
        ready = _when_ready(mesh, ready_file, output)
        assert ready["pid"] == mesh.pid
        with urllib.request.urlopen(f"{ready['http']}/v1/metrics", timeout=60) as answer:
            assert answer.status == 200
            assert "visits" in {metric["id"] for metric in json.load(answer)["metrics"]}
        mesh.send_signal(signal.SIGTERM)
        assert mesh.wait(patient(STOP_TIMEOUT_S)) == 0, output.read_text()
    finally:
        mesh.kill()
        mesh.wait()
    assert not ready_file.exists()


def _when_ready(mesh: subprocess.Popen[bytes], ready_file: Path, output: Path) -> dict[str, object]:
    """Block until the mesh has written its addresses. Fail if the mesh ends before it writes addresses."""
    deadline = time.monotonic() + patient(READY_TIMEOUT_S)
    while not ready_file.exists():
        assert time.monotonic() < deadline, f"not ready in {READY_TIMEOUT_S} s:\n{output.read_text()}"
        try:
            code = mesh.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended with {code}:\n{output.read_text()}")
    ready: dict[str, object] = json.loads(ready_file.read_text())
    return ready
