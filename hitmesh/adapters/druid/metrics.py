"""Step 8 of the journey on Druid: questions asked as native queries, answers as frames.

Decides when one query is not enough: for patterns, whose matches are found among the values that are there; for
sketches of many groups, and where visitors left one, since rows that come to nothing must go with theirs. What a query
says, hitmesh.adapters.druid.question decides; whether its answer has all rows, hitmesh.adapters.druid.proof.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import polars as pl

from hitmesh.adapters.druid.answer import as_promised, frame_of
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.marks import Marks
from hitmesh.adapters.druid.proof import Proof, proof_of
from hitmesh.adapters.druid.question import Json, Matches, rows_query, values_query
from hitmesh.adapters.druid.scan import answered, scan_query
from hitmesh.adapters.druid.sums import SUMS, asked_together, sums_query, whole_sums
from hitmesh.adapters.kafka.catalogue import Catalogue
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.answers import needed_columns, patterns_of
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import RefusedError, RetryError
from hitmesh.model.filters import Comparison, null_name
from hitmesh.model.patterns import matching_values
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.logs import logger

MAX_VALUES: Final = 300_000
MAX_MATCHES: Final = 20_000
MAX_ALL_MATCHES: Final = 100_000  # of all patterns: each is a value in the query
MAX_SKETCH_GROUPS: Final = 64  # of 256 KiB each in Druid's merge buffer


class Dropped(Protocol):
    """Which generations are no more."""

    def of(self, sites: Sequence[str]) -> set[tuple[SiteDay, int]]:
        """Returns the generations of site-days of these sites whose rows do not exist any more."""


class DruidMetricStore:
    """A MetricStore on Druid. Thread-safe.

    Args:
        servers: names of data sources.
        client: of Druid.
        catalogue: which partitions are declared.
        dropped: which generations are no more.
    """

    def __init__(self, servers: Servers, client: DruidClient, catalogue: Catalogue, dropped: Dropped) -> None:
        self._servers = servers
        self._client = client
        self._dropped = dropped
        self._marks = Marks(servers, client, catalogue)

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Returns bucket, dimensions, sums and united sketches of the asked generations.

        Raises:
            Unavailable: Druid does not answer, or has lost rows for a while that it had.
            RefusedError: a column is not there, a pattern is not RE2, or the answer has too many groups.
        """
        needed_columns(question, question.dimensions)
        asked = self._existing(question)
        if not asked.generations:
            return as_promised(frame_of((), asked), asked)
        proof = self._proof()
        matches = self._matches(asked, proof, checkpoint)
        return as_promised(self._asked(asked, matches, proof, checkpoint), asked)

    def explain(self, question: MetricQuery) -> str:
        """Returns the native query that a question is, as JSON that Druid takes; asks Druid nothing.

        Where a pattern stands for values that would be looked up first, a placeholder says so.
        """
        query = rows_query(self._existing(question), self._servers.data_source(question.source), _unknown)
        return json.dumps(query, ensure_ascii=False)

    def stream_sums(self, site_days: Collection[SiteDay]) -> Mapping[SiteDay, Mapping[str, int]]:
        """Returns the sums of all rows of the stream's generation: one question a day, source and up to 256 sites.

        Raises:
            Unavailable: Druid does not answer, or has lost rows for a while that it had.
        """
        proof = self._proof()
        found = {site_day: dict.fromkeys(ROW_SUMS, 0) for site_day in site_days}
        for day, sites in asked_together(site_days):
            for source in SUMS:
                query = sums_query(self._servers.data_source(source), source, day, sites)
                for site, *sums in self._rows(query, proof):
                    found[SiteDay(site, day)] |= whole_sums(source, sums)
        return found

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Returns distinct values of a dimension in the range, ascending; at most `limit`."""
        needed_columns(question, [dimension])
        asked = self._existing(question)
        if not asked.generations:
            return ()
        column = asked.columns.get(dimension, dimension)
        # One more: null comes first, and is no value.
        proof = self._proof()
        values = self._values(asked, column, self._matches(asked, proof), proof, limit + 1)
        return [value for value in values if value is not None][:limit]

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns up to which position of each partition of hits every row of the stream is in answers."""
        return self._marks.through()

    def close(self) -> None:
        """Lets go. A second call changes nothing."""
        self._marks.close()

    def _existing(self, question: MetricQuery) -> MetricQuery:
        """Returns the question without generations whose rows are no more; Druid deletes them later than we do."""
        try:
            gone = self._dropped.of(sorted({site_day.site for site_day in question.generations}))
        except RetryError as error:
            # Nobody who resolved generations a moment ago asks for a dropped one.
            logger().warning("dropped_rows_not_known", message=error.message)
            return question
        kept = {one: generation for one, generation in question.generations.items() if (one, generation) not in gone}
        return replace(question, generations=kept)

    def _proof(self) -> Proof:
        return proof_of(self._marks.through(), int(time.time() * 1_000))

    def _rows(self, query: Json, proof: Proof, checkpoint: Checkpoint = unwatched) -> list[Any]:
        """Returns the rows of a query, all that were there when the proof was made."""
        checkpoint()
        return proof.checked(query, self._client.query(proof.asked_in(query), checkpoint))

    def _asked(self, question: MetricQuery, matches: Matches, proof: Proof, checkpoint: Checkpoint) -> pl.DataFrame:
        """Returns the groups of a question: added up by Druid, or here where sketches make that dear or wrong."""
        if not question.sketches and MOVED_VISITORS not in question.measures:
            return self._grouped(question, matches, proof, checkpoint)
        summed = replace(question, sketches=(), measures=_with_moved(question.measures))
        sums = self._grouped(summed, matches, proof, checkpoint)
        nobody_left = not (sums[MOVED_VISITORS] != 0).any()
        if nobody_left and not question.sketches:
            return sums
        if nobody_left and sums.height <= MAX_SKETCH_GROUPS:
            return self._grouped(question, matches, proof, checkpoint)
        query = scan_query(question, self._servers.data_source(question.source), matches)
        return answered(self._rows(query, proof, checkpoint), question)

    def _grouped(self, question: MetricQuery, matches: Matches, proof: Proof, checkpoint: Checkpoint) -> pl.DataFrame:
        query = rows_query(question, self._servers.data_source(question.source), matches)
        return frame_of(self._rows(query, proof, checkpoint), question)

    def _values(
        self, question: MetricQuery, column: str, matches: Matches, proof: Proof, limit: int
    ) -> list[str | None]:
        data_source = self._servers.data_source(question.source)
        rows = self._rows(values_query(question, data_source, column, matches, limit), proof)
        return [value for value, _ in rows[:limit]]

    def _matches(self, question: MetricQuery, proof: Proof, checkpoint: Checkpoint = unwatched) -> Matches:
        """Returns what finds the values that a pattern matches, null by its name, among those of the asked rows.

        Values of a dimension are asked for once, and all its patterns are matched together.
        """
        found: dict[str, Mapping[str, Sequence[str]]] = {}
        unfiltered = replace(question, filter=None)

        def of(comparison: Comparison) -> Sequence[str]:
            dimension = comparison.dimension
            if dimension not in found:
                column = question.columns.get(dimension, dimension)
                checkpoint()
                values = self._values(unfiltered, column, of, proof, MAX_VALUES + 1)
                found[dimension] = matching(dimension, patterns_of(question.filter, dimension), values, checkpoint)
                count = sum(len(values) for matched in found.values() for values in matched.values())
                refuse_more("the regexps of the filter match", count, MAX_ALL_MATCHES, dimension)
            return found[dimension][comparison.values[0]]

        return of


def _unknown(comparison: Comparison) -> Sequence[str]:
    return [f"<every value that matches {comparison.values[0]}>"]


def matching(
    dimension: str,
    patterns: Sequence[str],
    values: Sequence[str | None],
    checkpoint: Checkpoint = unwatched,
    *,
    max_values: int = MAX_VALUES,
    max_matches: int = MAX_MATCHES,
) -> Mapping[str, Sequence[str]]:
    """Returns, for each pattern, the values in which it is found, null by its name.

    Raises:
        RefusedError: a pattern is not RE2; there are too many values, or too many of them match.
    """
    refuse_more("the regexps of the filter are tried on", len(values), max_values, dimension)
    texts = [null_name(dimension) if value is None else value for value in values]
    found = matching_values(patterns, texts, checkpoint)
    for pattern, matched in found.items():
        refuse_more(f"regexp {pattern[:64]!r} matches", len(matched), max_matches, dimension)
    return found


def refuse_more(what: str, count: int, limit: int, dimension: str) -> None:
    """Refuses more values than the limit.

    Raises:
        RefusedError: TOO_MANY_VALUES.
    """
    if count > limit:
        raise RefusedError(
            f"{what} more than {limit:,} values of {dimension}: name values instead, or ask for a shorter range",
            field="filter",
            reason="TOO_MANY_VALUES",
        )


def _with_moved(measures: tuple[str, ...]) -> tuple[str, ...]:
    return measures if MOVED_VISITORS in measures else (*measures, MOVED_VISITORS)
