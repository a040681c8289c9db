"""The options of `hitmesh dev`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hitmesh.tools.dev.backend import Backend
from hitmesh.tools.dev.envoy_tokens import TokenDoor
from hitmesh.tools.dev.envoy_traces import TracedDoor

# A process that answers no health check for this many seconds counts as hanging. The limit is generous, because the
# machine may be busy.
HANG_AFTER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DevOptions:
    """Options from the command line."""

    port: int | None
    ready_file: Path | None
    demo_data: bool
    backend: Backend | None
    stack_home: Path | None
    default_stack_home: Path
    replicas: int = 1
    closed_reads: bool = False
    hang_after_s: float = HANG_AFTER_S
    processor_settings: Mapping[str, str] = field(default_factory=dict)
    tokens: TokenDoor | None = None
    tls: bool = False
    traced: TracedDoor | None = None
