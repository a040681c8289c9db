"""The certificates of a mesh that `hitmesh dev --tls` runs: made in its home, and renewed before they expire."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hitmesh.model.errors import HitmeshError, RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.tools.certs import files
from hitmesh.tools.dev.envoy_tls import DoorTls, secrets

RENEW_EVERY_S: Final = 60.0


class MeshTls:
    """The certificates of a mesh.

    Args:
        folder: directory of the certificates, as `hitmesh certs make` writes it, made if absent. None means no TLS.
        run: directory for the files by which Envoy finds its certificate.

    Raises:
        RefusedError: a file in the directory is malformed, or cannot be read or written (INVALID_FILE).
    """

    def __init__(self, folder: Path | None, run: Path) -> None:
        self._folder = folder
        self._next_s = 0.0
        self.door: DoorTls | None = None
        if folder is None:
            return
        self.door = DoorTls(folder / "envoy", run)
        try:
            _prepare(folder, self.door)
        except OSError as error:
            raise RefusedError(
                f"the certificates in {folder} cannot be used ({error}): correct the files, or remove the directory",
                field="directory",
                reason=LocalReason.INVALID_FILE,
            ) from error

    def settings(self, service: str) -> Mapping[str, str]:
        """Return the settings of a service, keyed by name without the service's prefix."""
        return {"TLS_DIR": str(self._folder / service)} if self._folder else {}

    def refresh(self, now_s: float, warn: Callable[[str], None]) -> None:
        """Renew certificates that are near their end, at most once a minute.

        Args:
            now_s: a monotonic time in seconds.
            warn: receives a message if certificates cannot be renewed.
        """
        if self._folder is None or now_s < self._next_s:
            return
        self._next_s = now_s + RENEW_EVERY_S
        try:
            files.renew(self._folder, datetime.datetime.now(datetime.UTC))
        except (HitmeshError, OSError) as error:
            warn(f"the certificates in {self._folder} cannot be renewed: {error}")


def _prepare(folder: Path, door: DoorTls) -> None:
    now = datetime.datetime.now(datetime.UTC)
    if not (folder / files.AUTHORITY_KEY).exists():
        files.make(folder, now)
    files.renew(folder, now)
    for file, text in secrets(door).items():
        file.write_text(text, encoding="utf-8")
