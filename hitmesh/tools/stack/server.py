"""What a server is to the launcher: a command, the files it reads, the servers it needs, a question it must answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"

LOG4J: Final = (
    '<Configuration status="WARN"><Appenders><Console name="C"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>'
    '</Appenders><Loggers><Root level="LEVEL"><AppenderRef ref="C"/></Root></Loggers></Configuration>\n'
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the commands and files of servers are made of.

    Attributes:
        conf: folder of their configuration.
        data: folder of what they keep.
        logs: folder of what they say.
        jars: folder with a folder of jars per program.
        java: path of the program.
        ports: by name (hitmesh.tools.stack.ports).
    """

    conf: Path
    data: Path
    logs: Path
    jars: Path
    java: str
    ports: Mapping[str, int]

    def class_path(self, *folders: Path, jars: str) -> str:
        """Returns folders and all jars of a folder as a class path."""
        return ":".join([*map(str, folders), str(self.jars / jars / "*")])

    def address(self, name: str) -> str:
        """Returns host:port."""
        return f"{HOST}:{self.ports[name]}"


@dataclass(frozen=True, slots=True)
class Server:
    """One process.

    Attributes:
        name: for people and in file names.
        port: the one it is spoken to on.
        needs: servers that must be healthy before it starts.
        files: what to write before it starts.
        folders: what must be there before it starts.
        prepare: a command that is run before the first start, until the file of `prepared` is there.
        command: the program and its arguments.
        is_healthy: asks it; False or OSError when it is not.
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

    @property
    def digest(self) -> str:
        """Changes with everything that the server would have to be started anew for."""
        said = (self.command, sorted((str(path), text) for path, text in self.files.items()))
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def log4j(level: str) -> str:
    """Returns a configuration that writes everything from a level on to the standard output."""
    return LOG4J.replace("LEVEL", level)


def jvm(place: Place, name: str, *heap: str) -> tuple[str, ...]:
    """Returns the program and what every server's Java is told. A crash leaves its report among the logs."""
    crash = f"-XX:ErrorFile={place.logs / f'{name}-crash.log'}"
    return (place.java, *heap, "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC", crash)
