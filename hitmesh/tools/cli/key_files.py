"""Creates files with keys, which only their owner can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hitmesh.tools.cli.exits import CommandFailed, Exit


@contextmanager
def create_key_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Create an empty file with mode 0600, and yield a function that writes the key into the file.

    If the block ends with an error before the key is written, the file is removed.

    Raises:
        click.BadParameter: the file exists, or cannot be created.
        CommandFailed: the key cannot be written (OUTPUT_FAILED).
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise click.BadParameter(f"{path} exists: name a file that does not exist", param_hint="--key-file") from error
    except OSError as error:
        raise click.BadParameter(
            f"{path} cannot be created ({error.strerror}): name a file in a directory of yours", param_hint="--key-file"
        ) from error
    written = False

    def write(key: str) -> None:
        nonlocal written
        try:
            target.write(f"{key}\n")
            target.flush()
            os.fsync(target.fileno())
        except OSError as error:
            raise CommandFailed(
                Exit.OUTPUT_FAILED,
                f"{path} cannot be written ({error.strerror}), so the key is lost: free space, and make a new token "
                "with `hitmesh init --bootstrap-token`",
            ) from error
        written = True

    with os.fdopen(descriptor, "w", encoding="utf-8") as target:
        try:
            yield write
        finally:
            if not written:
                path.unlink(missing_ok=True)
