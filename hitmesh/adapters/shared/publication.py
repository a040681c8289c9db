"""What a publication makes current and what it supersedes (decisions A8, A9). Decides numbers; knows no storage."""

from __future__ import annotations

from hitmesh.model.generations import Drift
from hitmesh.model.rows.stream_columns import STREAM_GENERATION


def published_generation(attempt: int, current: int | None, drift: Drift | None) -> int:
    """Returns the generation that becomes current: the attempt's, or the stream's where its rows were confirmed.

    Args:
        attempt: the number of the settlement's attempt.
        current: the generation of the entry that is there, None without one.
        drift: how the settlement differs from the stream, None where the stream counted nothing.

    Raises:
        ValueError: the stream's rows are confirmed though another generation took their place before.
    """
    if drift is None or not drift.confirmed:
        return attempt
    if current not in (None, STREAM_GENERATION):
        raise ValueError(f"generation {current} took the place of the stream's rows; they cannot be confirmed")
    return STREAM_GENERATION


def superseded_by(published: int, current: int | None, drift: Drift | None) -> set[int]:
    """Returns the generations whose rows may go: the one that was current, or what the stream said until now."""
    if current is None:
        return {STREAM_GENERATION} if drift is not None and published != STREAM_GENERATION else set()
    return {current} - {published}
