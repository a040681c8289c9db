"""Take and restore snapshots of a keyspace on the only Cassandra node of a stack, as an operator does with nodetool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hitmesh.tools.stack import programs, tcp_ports
from hitmesh.tools.stack.layout import StackHome, cache_dir
from tests.support.patience import patient

_RUN_S = 120.0
# Packages of Java that Cassandra's own start script opens for its tools.
_OPENED = ("java.base/sun.nio.ch", "java.base/jdk.internal.ref", "java.base/jdk.internal.misc", "java.base/java.nio")
_PROPERTIES = (
    "-Xmx128m",
    "-Dcom.sun.jndi.rmiURLParsing=legacy",
    *(f"--add-{how}={package}=ALL-UNNAMED" for how in ("exports", "opens") for package in _OPENED),
)


def nodetool(home: Path, *arguments: str) -> None:
    """Run nodetool on the node of the stack in a home."""
    port = tcp_ports.read(StackHome(home).ports_file)["cassandra-jmx"]
    program = (programs.java(print), *_PROPERTIES, "-cp", f"{cache_dir()}/lib/cassandra/*")
    command = (*program, "org.apache.cassandra.tools.NodeTool", "-h", "127.0.0.1", "-p", str(port), *arguments)
    done = subprocess.run(
        command,
        env={**os.environ, "HOME": str(home)},  # nodetool keeps a history of commands below HOME
        capture_output=True,
        text=True,
        timeout=patient(_RUN_S),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def put_snapshot_back(home: Path, keyspace: str, tag: str) -> int:
    """Replace the files of every table in a keyspace by the files of a snapshot. The node must be stopped and drained.

    Return the number of tables.
    """
    data = StackHome(home).data / "cassandra"
    tables = sorted((data / "data" / keyspace).iterdir())
    for table in tables:
        for file in table.iterdir():
            if file.is_file():
                file.unlink()
        taken = table / "snapshots" / tag
        for file in taken.iterdir() if taken.exists() else ():
            if file.name not in ("manifest.json", "schema.cql"):
                shutil.copy2(file, table / file.name)
    for name in ("commitlog", "saved_caches"):
        shutil.rmtree(data / name, ignore_errors=True)
    return len(tables)
