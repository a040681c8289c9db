"""Log stored reprocessings that do not decode.

A list leaves out reprocessings that do not decode, and returns all others.
"""

from __future__ import annotations

from hitmesh.model.errors import StoreCorrupt
from hitmesh.runtime.logs import logger


def note_damage(error: StoreCorrupt) -> None:
    """Log that a list leaves out a damaged reprocessing. The logged message names the reprocessing."""
    logger().error("reprocessing_is_damaged", message=error.message)
