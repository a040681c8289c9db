"""Test the keys that `hitmesh dev` creates, and the roles of the server key of an older home."""

from __future__ import annotations

from pathlib import Path

from hitmesh.access.roles import MERCHANT_ROLES, roles_of
from hitmesh.adapters.directories import open_directory
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind, Role
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.dev import bootstrap
from hitmesh.tools.dev.home import Home, write_secret


def a_home(root: Path) -> Home:
    home = Home(root)
    home.prepare()
    return home


def stored(home: Home, file: Path) -> IngestKey:
    opened = open_directory(home.store_url, SystemClock())
    key = opened.port.key(file.read_text().strip())
    opened.close()
    assert key is not None
    return key


def test_a_new_home_gets_a_server_key_with_all_roles_of_a_merchant_and_an_operators_key(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    assert not home.has_keys
    assert bootstrap.main(str(home.root), home.store_url) == 0
    assert home.has_keys
    server, operator = stored(home, home.server_key), stored(home, home.operator_key)
    assert (server.merchant, server.roles, server.unbounded_history) == ("merchants/demo", MERCHANT_ROLES, True)
    assert (operator.merchant, operator.roles, operator.unbounded_history) == (OPERATORS, {Role.OPERATE}, False)


def test_the_server_key_of_an_older_home_keeps_its_secret_and_gets_its_roles_once(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    opened = open_directory(home.store_url, SystemClock())
    for key, secret in (("dev-1", "hms_first"), ("other", "hms_other")):
        opened.port.create_key(IngestKey(key, "merchants/demo", KeyKind.SERVER), secret)
    opened.close()
    write_secret(home.server_key, "hms_first")
    assert not home.has_keys
    assert bootstrap.main(str(home.root), home.store_url) == 0
    assert home.server_key.read_text().strip() == "hms_first"
    assert roles_of(stored(home, home.server_key)) == MERCHANT_ROLES
    write_secret(home.server_key, "hms_other")
    assert bootstrap.main(str(home.root), home.store_url) == 0
    assert roles_of(stored(home, home.server_key)) == {Role.SEND}, "a key that a user put there is not changed"


def test_roles_that_a_key_was_created_with_are_kept(tmp_path: Path) -> None:
    home = a_home(tmp_path)
    opened = open_directory(home.store_url, SystemClock())
    reader = IngestKey("reader", "merchants/demo", KeyKind.SERVER, roles=frozenset({Role.READ}))
    opened.port.create_key(reader, "hms_reader")
    opened.close()
    write_secret(home.server_key, "hms_reader")
    assert bootstrap.main(str(home.root), home.store_url) == 0
    assert stored(home, home.server_key) == reader
