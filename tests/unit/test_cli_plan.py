"""Test `hitmesh plan`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from hitmesh.tools.cli.__main__ import run
from hitmesh.tools.cli.init import SIZES
from tests.support.manifests import kustomize_objects, objects_of, of_kind

LOAD = ["plan", "--hits-per-day", "2e9", "--sites", "1e6", "--retention", "400d"]
AUTOSCALER = "HorizontalPodAutoscaler"


def test_a_plan_is_printed_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LOAD, "-o", "table"]) == 0
    shown = capsys.readouterr().out
    for part in ("69,444 at the peak", "processor", "cassandra", "what costs most", "what ends first"):
        assert part in shown


def test_a_plan_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LOAD, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["load"]["reports_per_day"] == 10 * 1e6
    assert found["hits_partitions"] == 16
    assert {pods["name"] for pods in found["pods"]} >= {"collector", "processor", "settler", "reporter", "envoy"}
    assert found["costs"]["processor_us"] > 0


def test_the_options_for_init_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LOAD, "-o", "json"]) == 0
    words = json.loads(capsys.readouterr().out)["init_options"].split()
    options = {name: (kind, default) for name, default, kind, _meaning in SIZES}
    assert set(words[::2]) <= set(options)
    for name, value in zip(words[::2], words[1::2], strict=True):
        options[name][0].convert(value, None, None)


def test_a_simulation_names_each_part_and_is_in_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["plan", "--hits-per-day", "1e6", "--sites", "10", "--retention", "30d", "--simulate", "-o", "json"]) == 0
    )
    shown = capsys.readouterr()
    outcomes = json.loads(shown.out)["simulations"]
    assert len(outcomes) == 4
    for name in outcomes:
        assert f"simulating: {name}" in shown.err


def test_a_component_changes_the_sizes_of_the_production_overlay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*LOAD, "-o", "kustomize"]) == 0
    text = capsys.readouterr().out
    objects = {(each["kind"], each["metadata"]["name"]): each for each in kustomize_objects(tmp_path, text)}
    assert objects["ScaledObject", "processor"]["spec"]["maxReplicaCount"] == 16
    assert objects["HorizontalPodAutoscaler", "reporter"]["spec"]["maxReplicas"] == 82
    processor = objects["StatefulSet", "processor"]["spec"]
    assert "replicas" not in processor
    assert processor["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"] == "7Gi"
    cache = next(volume for volume in processor["template"]["spec"]["volumes"] if volume["name"] == "cache")
    assert cache["emptyDir"]["sizeLimit"] != "38Gi"


def test_a_component_has_a_patch_for_every_autoscaler(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LOAD, "-o", "kustomize"]) == 0
    patched = {
        (patch["target"]["kind"], patch["target"]["name"])
        for patch in yaml.safe_load(capsys.readouterr().out)["patches"]
    }
    autoscaled = {(each["kind"], each["metadata"]["name"]) for each in of_kind(objects_of("base"), AUTOSCALER)}
    assert autoscaled
    assert autoscaled <= patched
    assert ("ScaledObject", "processor") in patched


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--hits-per-day", "many"], "'many' is not a number"),
        (["--retention", "400"], "'400' is not a time in days: write for example 400d"),
        (["--peak", "0.5"], "peak is 0.5: it must be from 1 to 100"),
        (["--hits-per-day", "1e99"], "hits_per_day is 1e+99"),
    ],
)
def test_a_wrong_value_is_refused(changed: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*LOAD, *changed]) == 2
    assert message in capsys.readouterr().err
