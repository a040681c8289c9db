"""Networks of the members of a stack: each member has its own network namespace, and the network can be cut in two.

Two bridges are two halves of a network. A member is moved between the halves, and the processes of the test are always
in the first half. Packets to the other half vanish, as behind a broken switch: no connection is refused or closed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hitmesh.tools.stack.members import Member

NO_NAMESPACES = "network namespaces need root, the right CAP_NET_ADMIN and the program `ip` (Debian: iproute2)"
LINK = re.compile(r"hm(\d+)[abvw]\d*")
NAMESPACE = re.compile(r"hm(\d+)[nt]\d*")


@dataclass(frozen=True)
class Network:
    """The members' network.

    Attributes:
        members: the members, each in its own namespace.
        prefix: first characters of the names of all namespaces and links.
    """

    members: tuple[Member, ...]
    prefix: str

    def cut(self, others: Collection[int]) -> None:
        """Cut the members with these numbers off from this process and from all other members."""
        for member in self.members:
            half = "b" if member.number in others else "a"
            _ip("link", "set", f"{self.prefix}v{member.number}", "master", f"{self.prefix}{half}")

    def heal(self) -> None:
        """Connect all members again."""
        self.cut(())


@contextmanager
def a_network(count: int) -> Iterator[Network]:
    """Yield a network with `count` members. Skip the test if this process may not create namespaces."""
    # Two runs on a machine must not meet. A name of a link has at most 15 characters, and a process id 7 digits.
    network = Network((), f"hm{os.getpid()}")
    net = f"10.213.{os.getpid() % 256}"
    if shutil.which("ip") is None or _try("netns", "add", f"{network.prefix}t"):
        pytest.skip(NO_NAMESPACES)
    _ip("netns", "del", f"{network.prefix}t")
    _remove_those_of_dead_processes()
    members = []
    try:
        for half in "ab":
            _ip("link", "add", f"{network.prefix}{half}", "type", "bridge")
            _ip("link", "set", f"{network.prefix}{half}", "up")
        _ip("addr", "add", f"{net}.254/24", "dev", f"{network.prefix}a")
        for number in range(1, count + 1):
            members.append(_add_member(network.prefix, net, number))
        yield Network(tuple(members), network.prefix)
    finally:
        for number in range(1, count + 1):
            _try("netns", "del", f"{network.prefix}n{number}")
            _try("link", "del", f"{network.prefix}v{number}")
        for half in "ab":
            _try("link", "del", f"{network.prefix}{half}")


def _remove_those_of_dead_processes() -> None:
    """Delete namespaces and links that a killed run left, because their addresses would stay in use."""
    for kind, pattern in (("netns", NAMESPACE), ("link", LINK)):
        listed = subprocess.run(["ip", "-o", kind, "list"], capture_output=True, text=True, check=True).stdout
        for name in names_of_dead_processes(listed, pattern):
            _try(kind, "del", name)


def names_of_dead_processes(listed: str, pattern: re.Pattern[str]) -> list[str]:
    """Return the names in the output of `ip` that match the pattern, and whose process is dead."""
    words = [word.partition("@")[0].rstrip(":") for line in listed.splitlines() for word in line.split()[:2]]
    found = {word: match for word in words if (match := pattern.fullmatch(word))}
    return [name for name, match in found.items() if not Path(f"/proc/{match[1]}").exists()]


def _add_member(prefix: str, net: str, number: int) -> Member:
    name, outside, inside = f"{prefix}n{number}", f"{prefix}v{number}", f"{prefix}w{number}"
    _ip("netns", "add", name)
    _ip("link", "add", outside, "type", "veth", "peer", "name", inside)
    _ip("link", "set", inside, "netns", name)
    _ip("link", "set", outside, "master", f"{prefix}a")
    _ip("link", "set", outside, "up")
    _ip("-n", name, "addr", "add", f"{net}.{number}/24", "dev", inside)
    for link in (inside, "lo"):
        _ip("-n", name, "link", "set", link, "up")
    return Member(number, f"{net}.{number}", ("ip", "netns", "exec", name))


def _ip(*arguments: str) -> None:
    failed = _try(*arguments)
    assert not failed, f"ip {' '.join(arguments)}: {failed}"


def _try(*arguments: str) -> str:
    """Run `ip`, and return what it printed if it failed."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"exit code {done.returncode}"
