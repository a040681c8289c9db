"""Test TLS of connections to the servers: the store URL, the clients' settings, and contexts that follow the files."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from cryptography import x509

from hitmesh.adapters.cassandra.connection import _cluster
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.specs import supervisor
from hitmesh.adapters.kafka.connection import CertificateWatch, connection, new_client
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.adapters.shared.client_tls import client_context
from hitmesh.model.errors import RefusedError, Unavailable
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.runtime.tls_files import NAMES
from hitmesh.tools.certs import files
from tests.support.certificates import made, rotate, serial_in

PLAIN = "servers:?kafka=k:9092&cassandra=c:9042&broker=http://b:8082&coordinator=http://o:8081"
TLS = "servers:?kafka=k:9092&cassandra=c:9042&broker=https://b:8082&coordinator=https://o:8081&tls=/t&tls_druid=/d"


def test_store_url_with_certificates_is_read_and_written() -> None:
    found = parse_servers(f"{TLS}&tls_cassandra=cassandra.stores")
    assert (found.tls, found.tls_druid, found.tls_cassandra) == ("/t", "/d", "cassandra.stores")
    assert parse_servers(found.url) == found
    assert parse_servers(PLAIN).tls == ""


@pytest.mark.parametrize(
    ("url", "word"),
    [
        (TLS.replace("https://b", "http://b"), "broker 'http://b:8082'"),
        (TLS.replace("https://o", "http://o"), "coordinator 'http://o:8081'"),
        (PLAIN.replace("http://b", "https://b"), "broker 'https://b:8082'"),
        (TLS.replace("tls=/t", "tls=t"), "tls 't' is not an absolute directory"),
        (TLS.replace("&tls_druid=/d", ""), "tls needs tls_druid"),
        (f"{PLAIN}&tls_druid=/d", "need tls"),
        (f"{PLAIN}&tls_cassandra=c", "need tls"),
    ],
)
def test_store_url_that_is_half_encrypted_is_refused(url: str, word: str) -> None:
    with pytest.raises(RefusedError, match=word.replace("'", ".")):
        parse_servers(url)


def test_clients_of_kafka_and_tasks_of_druid_identify_themselves_and_check_the_host() -> None:
    plaintext = connection(parse_servers(PLAIN))
    assert plaintext["bootstrap.servers"] == "k:9092"
    assert not [name for name in plaintext if name.startswith(("ssl", "security"))]
    assert connection(parse_servers(TLS)) == {
        **plaintext,
        "security.protocol": "SSL",
        "ssl.ca.location": "/t/ca.crt",
        "ssl.certificate.location": "/t/tls.crt",
        "ssl.key.location": "/t/tls.key",
        "ssl.endpoint.identification.algorithm": "https",
    }
    spec = supervisor(parse_servers(TLS), RowSource.TRAFFIC, SchemaOptions())
    properties = spec["spec"]["ioConfig"]["consumerProperties"]
    assert properties["security.protocol"] == "SSL"
    assert properties["ssl.keystore.location"] == "/d/tls-combined.pem"
    assert properties["ssl.truststore.location"] == "/d/ca.crt"
    plain = supervisor(parse_servers(PLAIN), RowSource.TRAFFIC, SchemaOptions())
    assert set(plain["spec"]["ioConfig"]["consumerProperties"]) == {"bootstrap.servers", "isolation.level"}


def encrypted(folder: Path, broker: str = "https://localhost:1", tls_cassandra: str = "") -> Servers:
    """Return servers whose clients use the certificates in a folder."""
    coordinator, tls = "https://localhost:1", str(folder)
    return Servers("k:9092", "127.0.0.1:1", broker, coordinator, tls=tls, tls_cassandra=tls_cassandra, tls_druid="/d")


def test_sessions_of_cassandra_check_the_name_of_each_node(tmp_path: Path) -> None:
    folder = made(tmp_path / "certs") / "reporter"
    cluster = _cluster(encrypted(folder, tls_cassandra="cassandra.stores"), 1.0)
    assert cluster.ssl_context.check_hostname
    assert cluster.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert cluster.ssl_options == {"server_hostname": "cassandra.stores"}
    cluster.shutdown()


def test_kafka_clients_are_outdated_when_the_files_have_changed(tmp_path: Path) -> None:
    root = made(tmp_path / "certs")
    watch, never = CertificateWatch(encrypted(root / "collector")), CertificateWatch(parse_servers(PLAIN))
    assert not watch.has_changed()
    rotate(root, "collector")
    assert watch.has_changed()
    watch.note()
    assert not watch.has_changed()
    never.note()
    assert not never.has_changed()


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers with an empty list, and closes the connection. Notes the serial number of the client's certificate."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        der = self.connection.getpeercert(binary_form=True)
        self.server.serials.append(f"{x509.load_der_x509_certificate(der).serial_number:x}")  # type: ignore[attr-defined]  # see _Server
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, root: Path) -> None:
        self.serials: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(root / "druid" / "tls.crt", root / "druid" / "tls.key")
        context.load_verify_locations(root / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """Ignore clients that end the handshake."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Path, _Server]]:
    """Serve a broker that needs certificates of an authority."""
    root = made(tmp_path / "certs")
    with _Server(root) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield root, server
        server.shutdown()
        serving.join()


def ask(folder: Path, server: _Server, host: str = "localhost") -> None:
    client = DruidClient(encrypted(folder, broker=f"https://{host}:{server.server_address[1]}"))
    try:
        assert client.query({"queryType": "scan"}) == []
    finally:
        client.close()


def test_new_connections_to_druid_use_replaced_certificates(broker: tuple[Path, _Server]) -> None:
    root, server = broker
    client = DruidClient(encrypted(root / "reporter", broker=f"https://localhost:{server.server_address[1]}"))
    first = serial_in(root / "reporter")
    assert client.query({}) == []
    rotate(root, "reporter")
    assert client.query({}) == []
    client.close()
    assert server.serials == [first, serial_in(root / "reporter")]
    assert first != server.serials[1]


def test_druid_of_another_authority_or_with_another_name_gets_no_query(
    broker: tuple[Path, _Server], tmp_path: Path
) -> None:
    root, server = broker
    others = made(tmp_path / "others")
    ask(root / "reporter", server)
    with pytest.raises(Unavailable):
        ask(others / "reporter", server)
    with pytest.raises(Unavailable):
        ask(root / "reporter", server, "127.0.0.2")  # no certificate has this address
    assert len(server.serials) == 1


def test_authority_that_was_removed_is_trusted_no_longer(broker: tuple[Path, _Server], tmp_path: Path) -> None:
    root, server = broker
    others = made(tmp_path / "others")
    client = DruidClient(encrypted(root / "reporter", broker=f"https://localhost:{server.server_address[1]}"))
    assert client.query({}) == []
    files.replace(root / "reporter", {name: (others / "reporter" / name).read_bytes() for name in NAMES})
    with pytest.raises(Unavailable):
        client.query({})
    client.close()


def test_missing_certificates_are_refused_when_stores_are_opened(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="hitmesh certs make"):
        client_context(tmp_path)


def test_a_changed_authority_is_a_change_too(tmp_path: Path) -> None:
    folder, others = (made(tmp_path / name) / "reporter" for name in ("certs", "others"))
    watch = CertificateWatch(encrypted(folder))
    assert not watch.has_changed()
    both = (folder / "ca.crt").read_bytes() + (others / "ca.crt").read_bytes()
    (folder / "ca.crt").unlink()
    (folder / "ca.crt").write_bytes(both)
    assert watch.has_changed()
    watch.note()
    assert not watch.has_changed()


def test_a_client_of_kafka_that_cannot_use_the_files_can_be_made_later(tmp_path: Path) -> None:
    folder, others = (made(tmp_path / name) / "reporter" for name in ("certs", "others"))
    settings = connection(encrypted(folder))
    (folder / "tls.key").unlink()
    (folder / "tls.key").write_bytes((others / "tls.key").read_bytes())
    with pytest.raises(Unavailable, match=r"cannot use the certificates beside .*tls\.key"):
        new_client(Producer, {**settings})
    with pytest.raises(KafkaException):
        new_client(Producer, {"bootstrap.servers": "k:9092", "no.such.setting": "1"})
