"""Metric store on Druid: send questions as native queries and return the answers (step 8 of the journey).

This module decides when a question needs more than one query. If a filter has a pattern, the first query reads the
existing values, and the module matches the pattern. If a question asks for sketches of many groups, the last query
reads the rows, not the groups. If a visitor moved to another row, the old row's sketch still contains the visitor
(MOVED_VISITORS). If any visitor moved, the last query reads the rows, so that the module can leave out the sketches of
rows that cancel out. The module hitmesh.adapters.druid.question builds queries, and hitmesh.adapters.druid.proof checks
that an answer has all rows.
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
from hitmesh.adapters.druid.native import Native
from hitmesh.adapters.druid.proof import Proof, proof_of
from hitmesh.adapters.druid.question import Matches, rows_query, values_query
from hitmesh.adapters.druid.scan import answered, scan_query
from hitmesh.adapters.druid.sums import SUMS, sites_per_query, sums_query, whole_sums
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.answers import needed_columns, patterns_of
from hitmesh.adapters.shared.catalogue import Catalogue
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import RefusedError, RetryError
from hitmesh.model.filters import Comparison, null_name
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.patterns import matching_values
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.logs import logger

MAX_VALUES: Final = 300_000
MAX_MATCHES: Final = 20_000
# The limit covers all patterns of a question together, because each match becomes a value in the query.
MAX_ALL_MATCHES: Final = 100_000
MAX_SKETCH_GROUPS: Final = 64  # The limit is per query, because each group takes 256 KiB in Druid's merge buffer.


class Dropped(Protocol):
    """Looks up which generations were dropped."""

    def of(self, sites: Sequence[str]) -> set[tuple[SiteDay, int]]:
        """Return the dropped generations for all days of these sites."""


class DruidMetricStore:
    """Implements the port MetricStore on Druid. Thread-safe.

    Args:
        servers: data source names.
        client: the Druid client.
        catalogue: the source of declared partitions.
        dropped: the source of dropped generations.
    """

    def __init__(self, servers: Servers, client: DruidClient, catalogue: Catalogue, dropped: Dropped) -> None:
        self._servers = servers
        self._client = client
        self._dropped = dropped
        self._marks = Marks(servers, client, catalogue)

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return bucket, dimensions, sums and united sketches for the requested generations.

        Raises:
            Unavailable: Druid does not answer, or temporarily lacks rows that earlier answers had.
            RefusedError: a column does not exist, a pattern is not RE2, or the answer has too many groups.
        """
        needed_columns(question, question.dimensions)
        existing = self._existing(question)
        if not existing.generations:
            return as_promised(frame_of((), existing), existing)
        proof = self._proof()
        matches = self._matches(existing, proof, checkpoint)
        return as_promised(self._answer(existing, matches, proof, checkpoint), existing)

    def explain(self, question: MetricQuery) -> str:
        """Return the question's native query, as JSON that Druid accepts, without a request to Druid.

        A placeholder stands for the values that match a pattern, because the search for these values needs a request.
        """
        query = rows_query(self._existing(question), self._servers.data_source(question.source), _unknown)
        return json.dumps(query.json(), ensure_ascii=False)

    def stream_sums(
        self, site_days: Collection[SiteDay], generation: int = STREAM_GENERATION
    ) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return, for each requested site-day, the sums over all rows of the stream with this generation.

        Each query covers one day, one source and up to 256 sites.

        Raises:
            Unavailable: Druid does not answer, or temporarily lacks rows that earlier answers had.
        """
        proof = self._proof()
        found = {site_day: dict.fromkeys(ROW_SUMS, 0) for site_day in site_days}
        for day, sites in sites_per_query(site_days):
            for source in SUMS:
                query = sums_query(self._servers.data_source(source), source, day, sites, generation)
                for site, *sums in self._rows(query, proof):
                    found[SiteDay(site, day)] |= whole_sums(source, sums)
        return found

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return, for each partition of hits, the log position up to which Druid has all rows.

        Every answer contains all rows that the stream made from records before the returned positions.
        """
        return self._marks.through()

    def close(self) -> None:
        """Stop the search for marks."""
        self._marks.close()

    def _existing(self, question: MetricQuery) -> MetricQuery:
        """Return the question without dropped generations, because Druid may still have their rows."""
        try:
            gone = self._dropped.of(sorted({site_day.site for site_day in question.generations}))
        except RetryError as error:
            # The question is answered even though it is unknown which generations were dropped. The question's
            # generations were current a moment ago, so probably no generation has been dropped.
            logger().warning("dropped_generations_not_read", message=error.message)
            return question
        kept = {
            site_day: generation
            for site_day, generation in question.generations.items()
            if (site_day, generation) not in gone
        }
        return replace(question, generations=kept)

    def _proof(self) -> Proof:
        return proof_of(self._marks.through(), int(time.time() * 1_000))

    def _rows(self, query: Native, proof: Proof, checkpoint: Checkpoint = unwatched) -> list[Any]:
        """Return the rows that answer a query; raise Unavailable if the proof shows that rows are missing."""
        checkpoint()
        return proof.checked(query, self._client.query(proof.with_marks(query).json(), checkpoint))

    def _answer(self, question: MetricQuery, matches: Matches, proof: Proof, checkpoint: Checkpoint) -> pl.DataFrame:
        """Return the groups that answer a question.

        If sketches from Druid would be too expensive or wrong, fetch and aggregate the rows in this process.
        """
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
        """Return a function that returns, for a comparison with a pattern, the matching values in the question's rows.

        The values of each dimension are queried once, and all patterns on the dimension are matched together. A null is
        matched as the text that `null_name` returns.
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
                refuse_more("the filter's regexps match", count, MAX_ALL_MATCHES, dimension)
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
    """Return the values that match each pattern; a null is matched as the text that `null_name` returns.

    Raises:
        RefusedError: a pattern is not RE2, there are too many values, or too many values match.
    """
    refuse_more("the filter's regexps must be tried on", len(values), max_values, dimension)
    texts = [null_name(dimension) if value is None else value for value in values]
    found = matching_values(patterns, texts, checkpoint)
    for pattern, matched in found.items():
        refuse_more(f"regexp {pattern[:64]!r} matches", len(matched), max_matches, dimension)
    return found


def refuse_more(what: str, count: int, limit: int, dimension: str) -> None:
    """Refuse a question if `count` exceeds the limit; `what` is the beginning of the message.

    Raises:
        RefusedError: TOO_MANY_VALUES.
    """
    if count > limit:
        raise RefusedError(
            f"{what} more than {limit:,} values of {dimension}: list the values with in(…), or ask for a shorter range",
            field="filter",
            reason=ErrorReason.TOO_MANY_VALUES,
            limit=limit,
            dimension=dimension,
        )


def _with_moved(measures: tuple[str, ...]) -> tuple[str, ...]:
    return measures if MOVED_VISITORS in measures else (*measures, MOVED_VISITORS)
