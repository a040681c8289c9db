"""Describes how to launch a server: its command, configuration files, required servers and health check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.members import LOOPBACK, SINGLE, Member

HOST: Final = LOOPBACK

LOG4J: Final = (
    '<Configuration status="WARN"><Appenders><Console name="C"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>'
    '</Appenders><Loggers><Root level="LEVEL"><AppenderRef ref="C"/></Root></Loggers></Configuration>\n'
)


@dataclass(frozen=True, slots=True)
class Place:
    """Paths and ports from which commands and configuration files are built.

    Attributes:
        conf: configuration folder.
        data: data folder.
        logs: log folder.
        jars: folder that contains a folder of jars for each program.
        java: path to the Java executable.
        ports: the ports, keyed by name (hitmesh.tools.stack.tcp_ports).
        members: the members of the stack.
    """

    conf: Path
    data: Path
    logs: Path
    jars: Path
    java: str
    ports: Mapping[str, int]
    members: tuple[Member, ...] = SINGLE

    def class_path(self, *folders: Path, jars: str) -> str:
        """Return a class path with the folders and all jars in the folder `jars`."""
        return ":".join([*map(str, folders), str(self.jars / jars / "*")])

    def address(self, name: str, member: Member | None = None) -> str:
        """Return host:port; by default, on loopback."""
        return f"{member.host if member else HOST}:{self.ports[name]}"

    @property
    def is_replicated(self) -> bool:
        """Whether data have copies on several members."""
        return len(self.members) > 1


@dataclass(frozen=True, slots=True)
class Server:
    """A server process.

    Attributes:
        name: name of the server, for messages and file names.
        port: client port.
        host: address on which the server listens.
        needs: servers that must be healthy before this server starts.
        files: text of each file that is written before the start, keyed by path.
        folders: folders that are created before the start.
        prepare: command that is run before a start if the file `prepared` does not exist.
        command: the program and its arguments.
        is_healthy: health check; returns False or raises an error if the server is not healthy (see `health.passes`).
    """

    name: str
    port: int
    needs: tuple[str, ...]
    files: Mapping[Path, str]
    folders: tuple[Path, ...]
    command: tuple[str, ...]
    is_healthy: Callable[[], bool] = field(compare=False)
    prepare: tuple[str, ...] = ()
    prepared: Path | None = None
    host: str = HOST

    @property
    def digest(self) -> str:
        """Digest of the command and files. A server must be restarted if its digest has changed."""
        content = (self.command, sorted((str(path), text) for path, text in self.files.items()))
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def log4j(level: str) -> str:
    """Return a log4j configuration that logs the given level and above to standard output."""
    return LOG4J.replace("LEVEL", level)


def jvm(place: Place, name: str, *heap: str) -> tuple[str, ...]:
    """Return the Java command with the options that all servers share.

    If Java crashes, it writes a crash report to the logs.
    """
    crash = f"-XX:ErrorFile={place.logs / f'{name}-crash.log'}"
    return (place.java, *heap, "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC", crash)
