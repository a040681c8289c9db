"""Test the Envoy configurations of the manifests: they come from the template, and Envoy accepts them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dev import make_k8s
from hitmesh.tools.dev.envoy import binary
from hitmesh.tools.dev.envoy_tls import secrets
from tests.support.certificates import made
from tests.support.manifests import K8S
from tests.support.tokens import a_certificate

PLACES = sorted(str(file.parent.relative_to(K8S)) for file in K8S.rglob(make_k8s.VALUES))
SOME = {"hosts": ["hits.example"]}
TOKENS = {"jwks": "https://login.example/keys", "issuer": "https://login.example", "audiences": ["hitmesh"]}


def placed(directory: Path, values: object) -> Path:
    (directory / make_k8s.VALUES).write_text(json.dumps(values), encoding="utf-8")
    return directory / make_k8s.CONFIG


def validated(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Let Envoy check a configuration, with certificates that this machine has."""
    authorities = directory / "authorities.pem"
    authorities.write_bytes(a_certificate())
    file = directory / "checked.yaml"
    file.write_text(text.replace(str(make_k8s.AUTHORITIES), str(authorities)), encoding="utf-8")
    command = [str(binary()), "--mode", "validate", "-c", str(file), "--log-level", "warning"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def with_own_files(text: str, directory: Path) -> str:
    """Return a text with certificates and SDS files that this machine has."""
    moved = text.replace(str(make_k8s.TLS_DIR), str(directory / "certs" / "envoy"))
    return moved.replace(str(make_k8s.CONFIG_DIR), str(directory))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("tokens", [None, TOKENS], ids=["keys only", "tokens"])
def test_envoy_accepts_a_configuration_with_mtls_and_refuses_a_broken_one(tokens: object, tmp_path: Path) -> None:
    config = placed(tmp_path, SOME | {"tls": True} | ({"tokens": tokens} if tokens else {}))
    assert make_k8s.main([str(tmp_path)]) == 0
    names = [file.name for file in secrets(make_k8s.TLS)]
    assert names == ["sds-own-certificate.json", "sds-authorities.json"]
    certs = made(tmp_path / "certs")
    for name in names:
        file = tmp_path / name
        file.write_text(with_own_files(file.read_text(encoding="utf-8"), tmp_path), encoding="utf-8")
    text = with_own_files(config.read_text(encoding="utf-8"), tmp_path)
    for service in ("collector", "reporter", "processor", "control"):
        assert text.count(f'{{"exact": "spiffe://hitmesh/{service}"}}') == 1
    checked = validated(text, tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()
    assert validated(text.replace('"san_type": "URI"', '"san_type": "URL"'), tmp_path).returncode != 0
    assert (certs / "envoy" / "tls.crt").exists()


def test_directory_with_mtls_needs_its_two_more_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    placed(tmp_path, SOME | {"tls": True})
    assert make_k8s.main([str(tmp_path)]) == 0
    assert make_k8s.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "sds-authorities.json").unlink()
    assert make_k8s.main(["--check", str(tmp_path)]) == 1
    assert "sds-authorities.json" in capsys.readouterr().err


def test_the_committed_configurations_are_current() -> None:
    assert PLACES == ["base", "overlays/production"]
    assert make_k8s.main(["--check"]) == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("place", PLACES)
def test_envoy_accepts_the_configuration_without_a_warning(place: str, tmp_path: Path) -> None:
    checked = validated((K8S / place / make_k8s.CONFIG).read_text(encoding="utf-8"), tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()


@pytest.mark.timeout(60)
def test_envoy_refuses_a_configuration_that_is_broken(tmp_path: Path) -> None:
    text = (K8S / "base" / make_k8s.CONFIG).read_text(encoding="utf-8")
    assert "ignore_health_on_host_removal" in text
    assert validated(text.replace("ignore_health_on_host_removal", "ignore_health"), tmp_path).returncode != 0


def test_a_directory_with_values_gets_a_configuration_and_a_difference_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = placed(tmp_path, SOME)
    assert make_k8s.main(["--check", str(tmp_path)]) == 1
    assert "run `make k8s`" in capsys.readouterr().err
    assert not config.exists()
    assert make_k8s.main([str(tmp_path)]) == 0
    assert make_k8s.main(["--check", str(tmp_path)]) == 0
    placed(tmp_path, SOME | {"tokens": TOKENS})
    assert make_k8s.main(["--check", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "values",
    [{}, {"hosts": []}, SOME | {"host": "x"}, SOME | {"tokens": TOKENS | {"jwks": "/etc/keys.json"}}],
    ids=["no hosts", "empty", "unknown name", "keys in a file"],
)
def test_wrong_values_are_refused(values: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = placed(tmp_path, values)
    assert make_k8s.main([str(tmp_path)]) == 1
    assert "validation error" in capsys.readouterr().err
    assert not config.exists()


def test_services_are_found_by_name_and_probes_may_call_by_address(tmp_path: Path) -> None:
    config = placed(tmp_path, SOME)
    make_k8s.main([str(tmp_path)])
    text = config.read_text(encoding="utf-8")
    assert text.count('"envoy.clusters.dns"') == text.count("ignore_health_on_host_removal: true") == 4
    assert f'domains: ["*:{make_k8s.STATS_PORT}"]' in text
    assert text.count('domains: ["hits.example", "hits.example:*"]') == 2


def test_a_refusal_in_a_cluster_names_no_hosts(tmp_path: Path) -> None:
    config = placed(tmp_path, {"hosts": ["hits.example", "internal.example"]})
    make_k8s.main([str(tmp_path)])
    text = config.read_text(encoding="utf-8")
    assert text.count("use a host name of this mesh") >= 3
    assert "use one of" not in text
    # The only places with a name are the virtual hosts and the default of HTTP/1.0.
    assert text.count("internal.example") == 4
    assert text.count("hits.example") == 6


def test_a_file_that_is_not_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / make_k8s.VALUES).write_text("{", encoding="utf-8")
    assert make_k8s.main([str(tmp_path)]) == 1
    assert "Invalid JSON" in capsys.readouterr().err


def test_production_accepts_each_host_name_of_the_base() -> None:
    base, production = (make_k8s.read(K8S / place / make_k8s.VALUES).hosts for place in PLACES)
    assert set(base) <= set(production)
