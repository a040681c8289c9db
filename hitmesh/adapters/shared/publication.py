"""Decide which generation a publication makes current and which generations are superseded (architecture A8, A9)."""

from __future__ import annotations

from hitmesh.model.generations import STREAM_GENERATION, Drift


def published_generation(attempt: int, current: int | None, drift: Drift | None) -> int:
    """Return the generation that becomes current: the attempt's, or the stream's if `drift` is confirmed.

    Args:
        attempt: the settlement's attempt number.
        current: generation of the existing entry, None without an entry.
        drift: difference between settlement and stream, None if the stream counted nothing.

    Raises:
        ValueError: `drift` is confirmed although another generation has already replaced the stream's rows.
    """
    if drift is None or not drift.confirmed:
        return attempt
    if current not in (None, STREAM_GENERATION):
        raise ValueError(f"generation {current} replaced the stream's rows: the rows cannot be confirmed")
    return STREAM_GENERATION


def superseded_by(published: int, current: int | None, drift: Drift | None) -> set[int]:
    """Return the generations whose rows may be removed: the previous entry's generation; without one, the stream's."""
    if current is None:
        return {STREAM_GENERATION} if drift is not None and published != STREAM_GENERATION else set()
    return {current} - {published}
