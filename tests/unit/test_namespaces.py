"""Test that names of links and namespaces that a killed run left are recognised."""

from __future__ import annotations

import os

from tests.support.namespaces import LINK, NAMESPACE, names_of_dead_processes

DEAD = 99_999_999
"""No process has this id: ids have at most 22 bits."""


def test_only_names_of_dead_processes_are_removed() -> None:
    links = (
        "1: lo: <LOOPBACK,UP> mtu 65536\n"
        f"7: hm{DEAD}v1@if6: <BROADCAST> mtu 1500\n"
        f"8: hm{DEAD}a: <BROADCAST> mtu 1500\n"
        f"9: hm{os.getpid()}a: <BROADCAST> mtu 1500\n"
        "10: hmx: <BROADCAST> mtu 1500\n"
    )
    assert names_of_dead_processes(links, LINK) == [f"hm{DEAD}v1", f"hm{DEAD}a"]
    spaces = f"hm{DEAD}n1 (id: 0)\nhm{os.getpid()}n1\nother\n"
    assert names_of_dead_processes(spaces, NAMESPACE) == [f"hm{DEAD}n1"]
