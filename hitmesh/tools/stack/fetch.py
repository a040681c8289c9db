"""Fetch the servers' jars into the cache shared by all home directories.

The last step writes a list of all files with their sizes. The cache is incomplete, and is fetched again, if the list is
missing or the files differ from the list. After the list is written, Maven's own copies are deleted, so that each jar
is on the disk only once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from hitmesh.tools.stack import poms, programs
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.layout import Say, held
from hitmesh.tools.stack.versions import ARTIFACTS, CASSANDRA, DRUID, KAFKA, Artifact

STAMP: Final = "complete.json"
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ARTIFACT_S: Final = 1_200.0
_LAST_LINES: Final = 15
_CURE: Final = "check the network (set a mirror in ~/.m2/settings.xml), then try again; finished downloads are kept"
_MIB: Final = 1 << 20


def fetch(cache: Path, say: Say) -> Path:
    """Fetch the jars if the cache is incomplete, and return `cache`, the folder with all jars.

    Raises:
        StackError: a program is missing, or the jars cannot be fetched.
    """
    if is_complete(cache):
        return cache
    cache.mkdir(parents=True, exist_ok=True)
    with held(cache.with_name(f"{cache.name}.lock"), say):
        if not is_complete(cache):
            _fetch(cache, say)
    return cache


def is_complete(cache: Path) -> bool:
    """Return whether the cache is complete: every file in the cache's list exists and has the listed size."""
    try:
        sizes = json.loads((cache / STAMP).read_bytes())
        return bool(sizes) and all((cache / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _fetch(cache: Path, say: Say) -> None:
    programs.java(say)
    maven = programs.maven(say)
    say(f"fetching Kafka {KAFKA}, Cassandra {CASSANDRA}, Druid {DRUID} into {cache}: about 300 MB, once")
    work = cache / "maven"
    (work / "empty").mkdir(parents=True, exist_ok=True)
    (work / "settings.xml").write_text(poms.settings(work / "empty"), encoding="utf-8")
    for number, artifact in enumerate(ARTIFACTS, 1):
        _resolve(maven, cache, work, artifact)
        count = len(list((cache / artifact.folder).glob("*.jar")))
        say(f"  {number}/{len(ARTIFACTS)}  {Path(artifact.folder).name}: {count} jars")
    sizes = _sizes(cache)
    temporary = cache / f".{STAMP}.new"
    temporary.write_text(json.dumps(sizes), encoding="utf-8")
    temporary.replace(cache / STAMP)
    shutil.rmtree(work, ignore_errors=True)
    say(f"fetched {len(sizes)} jars, {sum(sizes.values()) // _MIB} MiB")


def _resolve(maven: str, cache: Path, work: Path, artifact: Artifact) -> None:
    # An interrupted attempt may have left incomplete jars in this folder. Maven reuses the complete files in its own
    # repository.
    shutil.rmtree(cache / artifact.folder, ignore_errors=True)
    project = work / f"{artifact.folder.replace('/', '-')}.xml"
    project.write_text(poms.pom(artifact), encoding="utf-8")
    command = [
        *(maven, "--batch-mode", "--no-transfer-progress", "--quiet", "-f", str(project)),
        *("-gs", str(work / "settings.xml"), f"-Dmaven.repo.local={work / 'repository'}"),
        *(_PLUGIN, "-DincludeScope=runtime", "-Dmdep.prependGroupId=true"),
        f"-DoutputDirectory={cache / artifact.folder}",
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_ARTIFACT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Maven did not fetch {artifact.folder} within {_ARTIFACT_S:.0f} s: {_CURE}") from error
    if done.returncode != 0:
        lines = "\n".join(f"    {line}" for line in done.stdout.splitlines()[-_LAST_LINES:])
        raise StackError(f"Maven could not fetch {artifact.folder}; the end of the output:\n{lines}\n{_CURE}")


def _sizes(cache: Path) -> dict[str, int]:
    found = [path for artifact in ARTIFACTS for path in (cache / artifact.folder).glob("*.jar")]
    return {str(path.relative_to(cache)): path.stat().st_size for path in sorted(found)}
