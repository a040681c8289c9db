"""Run commands in a root directory, in namespaces of their own: as a step of a build, or as a pod would run.

A pod has a read-only root, a user without rights, its volumes, and a network of its own with loopback only.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from tests.support.patience import patient
from tests.support.waiting import eventually

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SPACES: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
# A file with the certificates of a proxy, which this machine may need for PyPI.
_CERTIFICATES: Final = "SSL_CERT_FILE"
STOPS_WITHIN_S: Final = 20.0


def build_step(root: Path, command: tuple[str, ...]) -> None:
    """Run a step of a build as root, with the network and the certificates of this machine.

    Raises:
        AssertionError: the command failed.
    """
    lines = [*_mounts(root), f"mount -t tmpfs tmpfs {root}/run"]
    variables = {"PATH": PATH}
    if os.environ.get(_CERTIFICATES):
        lines.append(f"cp {os.environ[_CERTIFICATES]} {root}/run/authorities.crt")
        variables |= dict.fromkeys((_CERTIFICATES, "PIP_CERT"), "/run/authorities.crt")
    lines.append(f"exec chroot {root} {_with(variables, command)}")
    done = subprocess.run([*_SPACES, "sh", "-euc", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]


def _mounts(root: Path) -> list[str]:
    return [
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount -t tmpfs tmpfs {root}/dev/shm",
    ]


def _with(variables: Mapping[str, str], command: Sequence[str]) -> str:
    return shlex.join(["env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command])


@dataclass(frozen=True)
class PodLike:
    """A container of a pod.

    Attributes:
        command: program and arguments.
        user: user id and group id.
        variables: the environment.
        directory: the working directory.
        volumes: mebibytes of each empty directory, by path.
        files: directories of this machine that are mounted read-only, by path.
    """

    command: Sequence[str]
    user: int
    variables: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    volumes: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class RunningPod:
    """A started container.

    Attributes:
        process: `unshare`, which ends with the exit status of the container's first process.
        pid: the id of the container's first process on this machine.
        log: the output.
        user: the user id.
    """

    process: subprocess.Popen[bytes]
    pid: int
    log: Path
    user: int

    def outside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine in the network of the pod, as the node's probes do."""
        return _run("nsenter", "--target", str(self.pid), "--net", *command)

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user."""
        target, user = str(self.pid), str(self.user)
        spaces = ("--target", target, "--net", "--mount", "--pid", f"--root=/proc/{target}/root", "--wd=/")
        return _run("nsenter", *spaces, "--setuid", user, "--setgid", user, "env", "-i", f"PATH={PATH}", *command)

    def stop(self) -> int:
        """Send SIGTERM to the first process of the container, and return the exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(patient(STOPS_WITHIN_S))

    def output(self) -> str:
        """Return the end of the output."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4_000:]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def started(root: Path, pod: PodLike, log: Path) -> Iterator[RunningPod]:
    """Run a container until the block ends."""
    lines = ["ip link set lo up", *_mounts(root)]
    for path, mebibytes in pod.volumes.items():
        lines += [f"mkdir -p {root}{path}", _emptied(root, path, mebibytes, pod.user)]
    for path, source in pod.files.items():
        lines += [f"mkdir -p {root}{path}", f"mount --bind -o ro {source} {root}{path}"]
    lines.append(f"mount -o remount,bind,ro {root}")
    user = str(pod.user)
    rights = ("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs", "--bounding-set=-all")
    variables = {"PATH": PATH, "HOME": "/tmp", **pod.variables}
    inner = f"cd {shlex.quote(pod.directory)} && exec {shlex.join(rights)} {_with(variables, pod.command)}"
    lines.append(f"exec chroot {root} sh -c {shlex.quote(inner)}")
    with log.open("wb") as output:
        os.fchown(output.fileno(), pod.user, pod.user)  # a container's user may open its own output
    with log.open("ab") as output, _ended(_popen(lines, output)) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = eventually(lambda: children.read_text(encoding="ascii").split() or None, "a first process")[0]
        yield RunningPod(process, int(pid), log, pod.user)


def _emptied(root: Path, path: str, mebibytes: int, user: int) -> str:
    return f"mount -t tmpfs -o mode=2777,gid={user},size={mebibytes}m tmpfs {root}{path}"


def _popen(lines: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [*_SPACES, "--net", "sh", "-euc", "\n".join(lines)]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
