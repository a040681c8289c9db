"""Test the authority and the certificates of a mesh: identities, terms, file modes, replacement, and the command."""

from __future__ import annotations

import datetime
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hitmesh.model.errors import RefusedError
from hitmesh.runtime.tls_identity import identity, names_of
from hitmesh.tools.certs import files
from hitmesh.tools.certs.issuing import PARTS, SERVICES, Term, days_left, hosts_of, identity_of, issue, new_authority
from hitmesh.tools.cli import certs
from hitmesh.tools.cli.__main__ import run

NOW = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def verify(leaf: x509.Certificate, authority: x509.Certificate, at: datetime.datetime, host: str) -> None:
    builder = PolicyBuilder().store(Store([authority])).time(at)
    builder.build_server_verifier(x509.DNSName(host)).verify(leaf, [])


def test_certificate_has_identity_and_hosts_and_is_signed_by_the_authority() -> None:
    authority = new_authority(KEY, 5, Term(NOW, 30))
    leaf = issue(authority, "collector", OTHER, 6, Term(NOW, 7), ["localhost", "127.0.0.1"])
    assert identity_of(leaf) == "spiffe://hitmesh/collector"
    verify(leaf, authority.certificate, NOW, "localhost")
    with pytest.raises(VerificationError):
        verify(leaf, authority.certificate, NOW, "reporter")
    with pytest.raises(VerificationError):
        verify(leaf, new_authority(OTHER, 5, Term(NOW, 30)).certificate, NOW, "localhost")


def test_certificate_is_valid_from_shortly_before_its_issue_until_the_days_have_passed() -> None:
    authority = new_authority(KEY, 5, Term(NOW, 30))
    leaf = issue(authority, "envoy", OTHER, 6, Term(NOW, 7), ["localhost"])
    verify(leaf, authority.certificate, NOW - datetime.timedelta(minutes=4), "localhost")
    for outside in (NOW - datetime.timedelta(minutes=6), NOW + 7 * DAY + datetime.timedelta(seconds=1)):
        with pytest.raises(VerificationError):
            verify(leaf, authority.certificate, outside, "localhost")
    assert days_left(leaf, NOW + 5 * DAY) == 2.0
    assert days_left(leaf, NOW + 9 * DAY) == -2.0


def test_certificate_expires_no_later_than_its_authority() -> None:
    leaf = issue(new_authority(KEY, 5, Term(NOW, 3)), "envoy", OTHER, 6, Term(NOW, 7), ["localhost"])
    assert leaf.not_valid_after_utc == NOW + 3 * DAY


def test_services_have_their_names_in_a_cluster_and_servers_only_the_hosts_that_were_given() -> None:
    assert "collector.hitmesh.svc" in hosts_of("collector", {})
    assert hosts_of("kafka", {"kafka": ["k.stores"], "druid": ["d.stores"]})[3:] == ["k.stores"]


def test_made_directory_has_every_part_with_its_own_key_and_private_modes(tmp_path: Path) -> None:
    root = tmp_path / "certs"
    files.make(root, NOW, hosts={"kafka": ["k.stores"]})
    authority = read(root / "ca.crt")
    keys = set()
    for part in PARTS:
        leaf, key = read(root / part / "tls.crt"), load_pem_private_key((root / part / "tls.key").read_bytes(), None)
        assert leaf.public_key() == key.public_key()
        assert identity_of(leaf) == identity(part)
        leaf.verify_directly_issued_by(authority)
        assert (root / part / "ca.crt").read_bytes() == (root / "ca.crt").read_bytes()
        assert stat.S_IMODE((root / part / "tls.key").stat().st_mode) == 0o600
        keys.add((root / part / "tls.key").read_bytes())
    assert len(keys) == len(PARTS)
    assert stat.S_IMODE((root / "ca.key").stat().st_mode) == 0o600
    with pytest.raises(RefusedError, match="already has an authority"):
        files.make(root, NOW)


def test_rotation_replaces_all_three_files_at_once_and_keeps_identity_and_hosts(tmp_path: Path) -> None:
    files.make(tmp_path, NOW, hosts={"kafka": ["k.stores"]})
    before = {each.name: each for each in files.issued(tmp_path, NOW)}
    opened = (tmp_path / "kafka" / "..data").resolve()
    files.rotate(tmp_path, NOW + DAY, ["kafka"], days=2)
    after = {each.name: each for each in files.issued(tmp_path, NOW + DAY)}
    assert after["kafka"].serial != before["kafka"].serial
    assert (after["kafka"].identity, after["kafka"].hosts) == (before["kafka"].identity, before["kafka"].hosts)
    assert after["kafka"].days_left == 2.0
    assert after["envoy"].serial == before["envoy"].serial
    assert (tmp_path / "kafka" / "..data").resolve() != opened
    assert not opened.exists()
    assert sorted(file.name for file in (tmp_path / "kafka").iterdir() if not file.name.startswith("..")) == [
        "ca.crt",
        "tls-combined.pem",
        "tls.crt",
        "tls.key",
    ]


def test_only_certificates_in_the_last_third_of_their_life_are_renewed(tmp_path: Path) -> None:
    files.make(tmp_path, NOW, days=6)
    files.rotate(tmp_path, NOW + 3 * DAY, ["envoy"], days=6)
    assert files.renew(tmp_path, NOW + 3 * DAY, days=6) == []
    assert set(files.renew(tmp_path, NOW + 5 * DAY, days=6)) == {*PARTS} - {"envoy"}
    assert files.renew(tmp_path, NOW + 5 * DAY, days=6) == []


@pytest.mark.parametrize("name", ["ca.key", "ca.crt", "envoy/tls.crt"])
@pytest.mark.parametrize("content", [None, b"not PEM"])
def test_missing_or_malformed_file_is_refused_with_its_name(tmp_path: Path, name: str, content: bytes | None) -> None:
    files.make(tmp_path, NOW)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RefusedError, match=Path(name).name):
        files.rotate(tmp_path, NOW)


def test_names_of_a_peer_are_its_uris_and_dns_names_but_no_other_values() -> None:
    context = {
        "peer_uri": [b"spiffe://hitmesh/envoy"],
        "peer_dns": [b"envoy", b"localhost"],
        "x509_common_name": [b"control"],
        "x509_subject_alternative_name": [b"spiffe://hitmesh/collector"],
    }
    assert names_of(context) == {"spiffe://hitmesh/envoy", "envoy", "localhost"}
    assert names_of({}) == frozenset()


def test_command_line_knows_the_parts() -> None:
    assert certs._PARTS == PARTS
    assert set(SERVICES) < set(PARTS)


def command(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert run(["certs", *arguments, "-o", "json"]) == code
    return json.loads(capsys.readouterr().out.splitlines()[0])


def test_command_makes_shows_and_rotates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "certs")
    made = command(capsys, "make", root, "--days", "3", "--host", "kafka=k.stores")
    assert [each["name"] for each in made] == ["ca", *PARTS]
    found = {each["name"]: each for each in made}
    assert "k.stores" in found["kafka"]["hosts"]
    assert 2.9 < found["envoy"]["days_left"] <= 3
    assert command(capsys, "show", root) == [
        {**each, "days_left": pytest.approx(each["days_left"], abs=0.01)} for each in made
    ]
    rotated = {each["name"]: each for each in command(capsys, "rotate", root, "envoy", "--days", "5")}
    assert rotated["envoy"]["serial"] != found["envoy"]["serial"]
    assert rotated["kafka"]["serial"] == found["kafka"]["serial"]


def test_show_fails_when_a_certificate_expires_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "certs")
    command(capsys, "make", root, "--days", "0.5")
    assert len(command(capsys, "show", root, "--min-days", "0.1")) == 1 + len(PARTS)
    assert run(["certs", "show", root]) == 7
    assert "certs rotate" in capsys.readouterr().err


def test_make_refuses_a_directory_with_an_authority_and_a_host_without_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "certs")
    command(capsys, "make", root)
    assert run(["certs", "make", root]) == 2
    assert "hitmesh certs rotate" in capsys.readouterr().err
    assert run(["certs", "make", str(tmp_path / "two"), "--host", "k.stores"]) == 2
    assert run(["certs", "rotate", str(tmp_path / "none")]) == 2
