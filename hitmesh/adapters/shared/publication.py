"""Decide which generation a publication makes current and which generations are superseded (architecture A8, A9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import MAX_KEPT_GENERATIONS
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay


def published_generation(attempt: int, current: int | None, drift: Drift | None, streams: Sequence[int]) -> int:
    """Return the generation that a publication makes current.

    If `drift.confirmed` is true, the stream's generation becomes current; otherwise, the attempt's generation does.

    Args:
        attempt: the settlement's attempt number.
        current: the generation of the current entry; None if there is no entry.
        drift: the difference between settlement and stream; None if the stream counted no hit.
        streams: the generations of all streams; the settlement was compared with the rows of the first stream.

    Raises:
        ValueError: `drift.confirmed` is true, but another generation has already replaced the stream's rows.
    """
    if drift is None or not drift.confirmed:
        return attempt
    if current not in (None, streams[0]):
        raise ValueError(f"the stream's rows cannot be confirmed, because generation {current} replaced them")
    return streams[0]


def superseded_by(published: int, current: int | None, drift: Drift | None, streams: Sequence[int]) -> set[int]:
    """Return the generations that a publication supersedes.

    The first publication for a site-day supersedes the generations of all streams, except the published generation.
    Every later publication replaces the current entry and supersedes the entry's generation.
    """
    if current is None:
        return set(streams) - {published} if drift is not None else set()
    return {current} - {published}


def is_restored(
    version: GenerationVersion, seen_sequence: int, entry: GenerationEntry | None, ledger: LedgerEntry | None
) -> bool:
    """Return whether a restore of `version` has already stored the current entry, after `seen_sequence`.

    If a caller does not learn the outcome of a restore, the caller repeats the restore. The repeated restore must find
    the entry that the first restore stored. The open visits (carry) are not compared.
    """
    if entry is None or entry.sequence <= seen_sequence:
        return False
    current = (entry.generation, entry.logic_version, entry.rules_version, dict(entry.read_through), ledger)
    return current == (version.generation, version.logic, version.rules, dict(version.read_through), version.ledger)


def restored_entry(version: GenerationVersion, sequence: int, now: int) -> GenerationEntry:
    """Return the new entry with which a restore makes an earlier version current again."""
    return GenerationEntry(version.generation, sequence, version.logic, dict(version.read_through), now, version.rules)


def replaced_by_restore(
    site_day: SiteDay,
    generation: int,
    seen_sequence: int,
    entry: GenerationEntry | None,
    kept_until: int | None,
    now: int,
) -> int:
    """Return the current generation, which a restore of `generation` supersedes.

    Args:
        site_day: the site-day.
        generation: the generation to restore.
        seen_sequence: the sequence that the caller read.
        entry: the current entry; None if there is no entry.
        kept_until: the time from which the generation counts as superseded; None if the generation was not replaced.
            From `kept_until` on, the generation's rows may be removed.
        now: the time of the restore, UTC ms.

    Raises:
        StaleGeneration: another entry is current, or the generation is no longer kept.
    """
    sequence = entry.sequence if entry else 0
    if sequence != seen_sequence:
        raise StaleGeneration(
            f"{site_day.site} day {site_day.day}: sequence {sequence} was published after "
            f"sequence {seen_sequence} was read; read the entry again"
        )
    if entry is None or kept_until is None or kept_until < now:
        raise StaleGeneration(
            f"{site_day.site} day {site_day.day}: generation {generation} is no longer kept, the current generation is "
            f"{entry.generation if entry else None}; settle the day again"
        )
    return entry.generation


def refuse_changed_site(site: str, last_sequence: int, seen_site_sequence: int | None) -> None:
    """Refuse a publication if an entry of the site was published after `seen_site_sequence`; None skips the check.

    Raises:
        StaleGeneration: the site's highest sequence is not `seen_site_sequence`.
    """
    if seen_site_sequence is not None and last_sequence != seen_site_sequence:
        raise StaleGeneration(
            f"{site}: sequence {last_sequence} was published after sequence {seen_site_sequence} was read; scan again"
        )


def beyond_limit(replaced: Mapping[int, int], now: int, limit: int = MAX_KEPT_GENERATIONS) -> set[int]:
    """Return the generations to remove so that at most `limit` replaced generations are kept.

    Args:
        replaced: a site-day's superseded generations, each with the time until which the generation is kept, UTC ms.
        now: the time of the publication, UTC ms.
        limit: maximum number of kept generations.
    """
    kept = sorted((until, generation) for generation, until in replaced.items() if until > now)
    return {generation for _, generation in kept[: max(0, len(kept) - limit)]}
