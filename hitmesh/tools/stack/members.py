"""The members of a stack: how many Kafka brokers and Cassandra nodes run, and on which addresses.

By default, a stack has a single member. With three members, each topic and row has three copies, and any member may
die. A member is a broker and a node on the same address. Druid's servers always run once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.layout import StackHome

LOOPBACK: Final = "127.0.0.1"
MEMBERED: Final = ("kafka", "cassandra")
"""Servers that run once for each member."""


@dataclass(frozen=True, slots=True)
class Member:
    """A broker and a node.

    Attributes:
        number: 1, 2, …
        host: IPv4 address on which the servers listen.
        within: command that runs another command in the member's network, such as `ip netns exec NAME`; empty for the
            network of this process.
    """

    number: int
    host: str
    within: tuple[str, ...] = ()

    def name(self, server: str) -> str:
        """Return the name of a server of this member.

        Example:
            >>> Member(1, "127.0.0.1").name("kafka"), Member(3, "127.0.0.3").name("kafka")
            ('kafka', 'kafka-3')
        """
        return server if self.number == 1 else f"{server}-{self.number}"


SINGLE: Final = (Member(1, LOOPBACK),)


def on_loopback(count: int) -> tuple[Member, ...]:
    """Return members on the loopback addresses from 127.0.0.1 on.

    Example:
        >>> [member.host for member in on_loopback(3)]
        ['127.0.0.1', '127.0.0.2', '127.0.0.3']
    """
    return tuple(Member(number, f"127.0.0.{number}") for number in range(1, count + 1))


def role_of(server: str) -> str:
    """Return the name of a server without its member's number.

    Example:
        >>> role_of("kafka-2"), role_of("indexer")
        ('kafka', 'indexer')
    """
    role, _, number = server.rpartition("-")
    return role if role in MEMBERED and number.isdecimal() else server


def read(file: Path) -> tuple[Member, ...]:
    """Return the members in the file; a single member if the file does not exist.

    Raises:
        StackError: the file is no list of members.
    """
    try:
        found = json.loads(file.read_bytes())
        return tuple(Member(each["number"], each["host"], tuple(each["within"])) for each in found)
    except FileNotFoundError:
        return SINGLE
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{file} is not a list of members: remove the directory with the servers' data") from error


def keep(place: StackHome, members: Sequence[Member]) -> None:
    """Record the members of a new stack.

    Raises:
        StackError: the stack has data of other members.
    """
    kept = read(place.members_file)
    if tuple(members) == kept:
        return
    if place.members_file.exists() or place.ports_file.exists():
        raise StackError(
            f"the stack in {place.base} has {len(kept)} members, not {len(members)}: copies of existing data would be "
            "missing; use another --home"
        )
    place.members_file.write_text(json.dumps([asdict(member) for member in members], indent=2) + "\n", encoding="utf-8")
