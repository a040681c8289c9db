"""Finds Java 17, which the servers need, and Maven, which downloads the servers' jars.

If the user is root, missing programs are installed with apt-get.

The Java version is 17, because Cassandra 5.0 does not run on newer versions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.layout import Say
from hitmesh.tools.stack.versions import JAVA

PACKAGES: Final = {"java": f"openjdk-{JAVA}-jre-headless", "mvn": "maven"}
_INSTALL_S: Final = 600.0
_VERSION_TIMEOUT_S: Final = 30.0
_LAST_LINES: Final = 15


def java(say: Say) -> str:
    """Return the path of a Java 17 executable.

    Raises:
        StackError: Java 17 is missing and cannot be installed.
    """
    found = _find_java()
    if found is None:
        _install("java", f"Java {JAVA}", say)
        found = _find_java()
    if found is None:
        raise StackError(f"Java {JAVA} is missing: {_cure('java')}")
    return found


def maven(say: Say) -> str:
    """Return the path of Maven.

    Raises:
        StackError: Maven is missing and cannot be installed.
    """
    found = shutil.which("mvn")
    if found is None:
        _install("mvn", "Maven", say)
        found = shutil.which("mvn")
    if found is None:
        raise StackError(f"Maven is missing: {_cure('mvn')}")
    return found


def major_version(output: str) -> int | None:
    """Return the major version in the output of `java -version`; None if the output contains no version."""
    found = re.search(r'version "(\d+)', output)
    return int(found[1]) if found else None


def _find_java() -> str | None:
    return next((path for path in _javas() if _version_of(path) == JAVA), None)


def _javas() -> Iterator[str]:
    on_path = shutil.which("java")
    if on_path is not None:
        yield on_path
    for path in sorted(Path("/usr/lib/jvm").glob(f"*{JAVA}*/bin/java")):
        yield str(path)


def _version_of(path: str) -> int | None:
    try:
        completed = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return major_version(completed.stderr + completed.stdout)


def _install(program: str, name: str, say: Say) -> None:
    """Install a missing program with apt-get, which needs root."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise StackError(f"{name} is missing: {_cure(program)}")
    say(f"{name} is missing: installing {PACKAGES[program]}")
    install = [apt, "install", "-y", "-qq", "--no-install-recommends", PACKAGES[program]]
    if _run(install).returncode != 0:
        # The package lists may be missing or outdated.
        _run([apt, "update", "-qq"])
        done = _run(install)
        if done.returncode != 0:
            lines = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-_LAST_LINES:])
            raise StackError(f"{PACKAGES[program]} could not be installed:\n{lines}\n{_cure(program)}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=_INSTALL_S,
        check=False,
    )


def _cure(program: str) -> str:
    return f"install this program (on Debian, as root: `apt-get install {PACKAGES[program]}`), and try again"
