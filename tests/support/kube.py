"""Run a real kube-apiserver with etcd on loopback. There is no controller and no kubelet: nothing runs in pods."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hitmesh.tools.dev import tcp_ports
from tests.support.waiting import eventually

_READY_S: Final = 60.0
_TOKEN: Final = "admin"  # the server ends with the test, and listens on loopback only


@dataclass(frozen=True)
class Kube:
    """A running API server, called with kubectl."""

    config: Path

    def kubectl(self, *arguments: str, objects: Iterable[Mapping[str, Any]] = ()) -> subprocess.CompletedProcess[str]:
        """Run kubectl; it reads the objects as its standard input."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        command = ["kubectl", "--kubeconfig", str(self.config), *arguments]
        return subprocess.run(command, input=listed, capture_output=True, text=True, check=False)

    def apply(self, objects: Iterable[Mapping[str, Any]], *options: str) -> subprocess.CompletedProcess[str]:
        """Apply the objects on the side of the server, which checks each field."""
        checks = ("--server-side", "--force-conflicts", "--validate=strict")
        return self.kubectl("apply", *checks, *options, "-f", "-", objects=objects)


@contextlib.contextmanager
def running(apiserver: Path, directory: Path) -> Iterator[Kube]:
    """Run etcd and the API server until the block ends.

    Args:
        apiserver: the binary.
        directory: an empty directory for data, keys and logs.
    """
    with contextlib.ExitStack() as ends:
        client, peer, port = tcp_ports.any_free(3)
        ends.enter_context(_process(directory / "etcd.log", _etcd(directory / "etcd", client, peer)))
        server = ends.enter_context(
            _process(
                directory / "apiserver.log", _server(apiserver, directory, f"http://{tcp_ports.HOST}:{client}", port)
            )
        )
        kube = Kube(_kubeconfig(directory, port))

        def is_ready() -> bool:
            assert server.poll() is None, (directory / "apiserver.log").read_text(encoding="utf-8")[-2_000:]
            return kube.kubectl("get", "--raw", "/readyz").returncode == 0

        eventually(is_ready, "the API server is ready", _READY_S)
        yield kube


def _etcd(data: Path, client: int, peer: int) -> list[str]:
    at_client, at_peer = (f"http://{tcp_ports.HOST}:{port}" for port in (client, peer))
    return [
        "etcd",
        "--name=test",
        f"--data-dir={data}",
        f"--listen-client-urls={at_client}",
        f"--advertise-client-urls={at_client}",
        f"--listen-peer-urls={at_peer}",
        f"--initial-advertise-peer-urls={at_peer}",
        f"--initial-cluster=test={at_peer}",
    ]


def _server(apiserver: Path, directory: Path, etcd: str, port: int) -> list[str]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private, public = directory / "accounts.key", directory / "accounts.pub"
    encoding = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password))
    public.write_bytes(key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo))
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{_TOKEN},admin,admin,"system:masters"\n', encoding="utf-8")
    return [
        str(apiserver),
        f"--etcd-servers={etcd}",
        f"--bind-address={tcp_ports.HOST}",
        f"--secure-port={port}",
        f"--cert-dir={directory / 'certificates'}",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={public}",
        f"--service-account-signing-key-file={private}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        # No controller creates the accounts' tokens.
        "--disable-admission-plugins=ServiceAccount",
    ]


def _kubeconfig(directory: Path, port: int) -> Path:
    file = directory / "kubeconfig"
    cluster = {"server": f"https://{tcp_ports.HOST}:{port}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    file.write_text(json.dumps(config), encoding="utf-8")
    return file


@contextlib.contextmanager
def _process(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
