"""Test the ports of local servers. A port is kept as long as it is free, and chosen again otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from hitmesh.tools.stack import tcp_ports
from hitmesh.tools.stack.errors import StackError
from tests.unit.stack_place import PORTS


def all_free(_: int) -> bool:
    return True


def test_a_first_choice_gives_every_name_a_port_of_its_own_from_the_first_on() -> None:
    chosen = tcp_ports.choose({}, (), 21_000, all_free)
    assert list(chosen.values()) == list(range(21_000, 21_000 + len(tcp_ports.NAMES)))


def test_ports_that_are_free_are_kept() -> None:
    assert tcp_ports.choose(PORTS, (), 25_000, all_free) == PORTS


def test_only_a_port_in_use_is_chosen_anew() -> None:
    taken = PORTS["broker"]
    chosen = tcp_ports.choose(PORTS, (), 25_000, lambda port: port != taken)
    assert chosen == {**PORTS, "broker": 25_000}


def test_a_server_that_runs_keeps_the_ports_that_it_holds_itself() -> None:
    held = {PORTS[name] for name in tcp_ports.PORTS["kafka"]}
    assert tcp_ports.choose(PORTS, ("kafka",), 25_000, lambda port: port not in held) == PORTS


def test_a_new_port_is_never_one_that_was_known() -> None:
    taken = PORTS["kafka"]
    chosen = tcp_ports.choose(PORTS, (), taken, lambda port: port != taken)
    assert chosen["kafka"] not in PORTS.values()


def test_the_search_goes_on_from_the_start_of_the_range() -> None:
    chosen = tcp_ports.choose({}, (), tcp_ports.LAST - 1, all_free)
    assert tcp_ports.LAST - 1 in chosen.values()
    assert tcp_ports.FIRST in chosen.values()


def test_without_a_free_port_the_error_names_a_remedy() -> None:
    with pytest.raises(StackError, match="stop a program that listens there"):
        tcp_ports.choose({}, (), tcp_ports.FIRST, lambda _: False)


def test_a_name_that_is_no_longer_used_is_forgotten_and_a_new_one_gets_a_port() -> None:
    known = {**PORTS, "gone": 20_500}
    del known["indexer"]
    chosen = tcp_ports.choose(known, (), 25_000, all_free)
    assert chosen == {**PORTS, "indexer": 25_000}


def test_homes_begin_at_places_of_their_own_below_the_systems_ports() -> None:
    first = {tcp_ports.first_port(Path(f"/srv/home-{number}")) for number in range(50)}
    assert len(first) > 40
    assert all(tcp_ports.FIRST <= port < tcp_ports.LAST for port in first)


def test_ports_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert tcp_ports.read(file) == {}
    tcp_ports.write(file, PORTS)
    assert tcp_ports.read(file) == PORTS
    file.write_text("[1]")
    with pytest.raises(StackError, match="remove the file"):
        tcp_ports.read(file)
