"""Render a directory of manifests with kustomize."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

MISSING: Final = (
    "kustomize is missing: no package of Python has it; install kubectl or kustomize, or run "
    "`go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.2`"
)


def command() -> list[str] | None:
    """Return the command that renders a directory, or None: kustomize, kubectl, or a kustomize that Go installed."""
    of_go = [Path(os.environ.get("GOBIN") or Path.home() / "go" / "bin") / "kustomize"]
    for found in (shutil.which("kustomize"), *(str(path) for path in of_go if path.is_file())):
        if found:
            return [found, "build"]
    kubectl = shutil.which("kubectl")
    return [kubectl, "kustomize"] if kubectl else None


def build(directory: Path) -> str:
    """Return the objects of a directory as YAML.

    Raises:
        FileNotFoundError: there is no kustomize.
        ValueError: kustomize refused the directory.
    """
    found = command()
    if found is None:
        raise FileNotFoundError(MISSING)
    built = subprocess.run([*found, str(directory)], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise ValueError(built.stderr)
    return built.stdout
