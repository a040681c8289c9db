"""Test the TLS settings of services: no plaintext beyond loopback, and files that must be usable."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.settings import CollectorSettings
from hitmesh.model.errors import RefusedError
from hitmesh.runtime.config import load
from hitmesh.runtime.tls import server_tls
from hitmesh.runtime.tls_files import CertificateFiles
from hitmesh.tools.dev.mesh_tls import MeshTls
from tests.support.certificates import made, rotate, serial_in

PREFIX = "HITMESH_COLLECTOR_"


def settings(**values: str) -> CollectorSettings:
    return load(CollectorSettings, {f"{PREFIX}{name}": value for name, value in {"STORE": "memory:", **values}.items()})


@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "[::]:50051", ":50051", "10.1.2.3:50051", "collector:50051"])
def test_plaintext_beyond_loopback_is_refused_with_the_cure(listen: str) -> None:
    with pytest.raises(RefusedError) as refused:
        settings(LISTEN=listen)
    assert refused.value.field == f"{PREFIX}LISTEN"
    for word in (listen, "beyond loopback", f"{PREFIX}TLS_DIR", f"{PREFIX}PLAINTEXT_OK", "127.0.0.1"):
        assert word in refused.value.message
    with pytest.raises(RefusedError):
        settings(LISTEN=listen, PLAINTEXT_OK=" ")
    assert settings(LISTEN=listen, PLAINTEXT_OK="the network encrypts").listen == listen
    assert settings(LISTEN=listen, TLS_DIR="/etc/hitmesh/tls").listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.0.1:1", "[::1]:50051", "localhost:50051", "unix:/run/x"])
def test_plaintext_on_loopback_is_accepted(listen: str) -> None:
    assert settings(LISTEN=listen).tls_dir == ""


STORE = "servers:?kafka={0}:9092&cassandra={0}&broker=http://{0}:8082&coordinator=http://{0}:8081"


def test_plaintext_to_stores_beyond_loopback_is_refused_with_the_cure() -> None:
    with pytest.raises(RefusedError) as refused:
        settings(STORE=STORE.format("kafka.stores"))
    assert refused.value.field == f"{PREFIX}STORE"
    for word in ("kafka.stores:9092 is beyond loopback", "tls=DIR", f"{PREFIX}PLAINTEXT_OK"):
        assert word in refused.value.message
    assert settings(STORE=STORE.format("kafka.stores"), PLAINTEXT_OK="the network encrypts").store
    assert settings(STORE=STORE.format("kafka.stores") + "&tls=/certs&tls_druid=/certs").store
    for host in ("127.0.0.1", "localhost"):
        assert settings(STORE=STORE.format(host)).plaintext_ok == ""


def test_directory_must_be_absolute_and_peers_must_be_named() -> None:
    with pytest.raises(RefusedError, match="TLS_DIR"):
        settings(TLS_DIR="certs")
    with pytest.raises(RefusedError, match="name at least one peer"):
        settings(TLS_DIR="/certs", TLS_PEERS=" , ")


def test_service_without_certificates_has_no_tls_and_with_them_has_the_named_peers(tmp_path: Path) -> None:
    assert server_tls(settings()) is None
    root = made(tmp_path / "certs")
    tls = server_tls(settings(TLS_DIR=str(root / "collector"), TLS_PEERS="spiffe://hitmesh/envoy, probe"))
    assert tls is not None
    assert tls.peers == {"spiffe://hitmesh/envoy", "probe"}


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"not PEM"])
def test_service_refuses_to_start_without_usable_files(tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = made(tmp_path / "certs") / "collector"
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(RefusedError, match=name):
        server_tls(settings(TLS_DIR=str(folder)))


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    root = made(tmp_path / "certs")
    (root / "collector" / "tls.key").unlink()
    (root / "collector" / "tls.key").write_bytes((root / "envoy" / "tls.key").read_bytes())
    with pytest.raises(RefusedError, match="not the key of the certificate"):
        CertificateFiles(root / "collector")


def test_files_are_read_again_only_when_they_change(tmp_path: Path) -> None:
    root = made(tmp_path / "certs")
    watched = CertificateFiles(root / "collector")
    first = watched.current()
    assert watched.current() is first
    rotate(root, "collector")
    assert watched.current().serial == serial_in(root / "collector") != first.serial


def test_certificates_of_a_mesh_are_made_once_and_renewed_when_due(tmp_path: Path) -> None:
    root, run = tmp_path / "certs", tmp_path
    mesh = MeshTls(root, run)
    assert mesh.door is not None
    assert mesh.door.certificate_file.exists()
    assert mesh.door.authorities_file.exists()
    serial = serial_in(root / "envoy")
    assert serial_in(MeshTls(root, run).door.folder) == serial  # type: ignore[union-attr]  # the mesh has TLS
    assert mesh.settings("control") == {"TLS_DIR": str(root / "control")}
    warnings: list[str] = []
    mesh.refresh(1.0, warnings.append)
    (root / "ca.key").unlink()
    (root / "envoy" / "tls.crt").unlink()
    mesh.refresh(2.0, warnings.append)
    assert warnings == []
    mesh.refresh(90.0, warnings.append)
    assert len(warnings) == 1
    assert MeshTls(None, run).settings("control") == {}
