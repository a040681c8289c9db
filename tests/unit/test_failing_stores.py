"""Test answers while a store is unavailable: the other store answers with a warning, or the question is refused."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2

from hitmesh.adapters.factory import open_stores
from hitmesh.api.reporter.v1 import export_pb2
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import DirtyMark
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.stream_values import FoldedRows
from hitmesh.runtime.rpc_errors import status_of
from reporter.answer.breaker import PAUSE_MS
from reporter.answer.standing import MAX_AGE_MS
from reporter.rpc.explain_report import explain_report
from reporter.rpc.export_report import export_report
from reporter.rpc.get_freshness import get_freshness
from reporter.rpc.run_report import run_report
from tests.support.clock import ManualClock
from tests.support.published_days import publish_day
from tests.support.reporters import a_question
from tests.support.settled_rows import DAY, MIDNIGHT, SITE, partials_of, stream_frame, traffic
from tests.support.two_paths import RETRY_AFTER_S, Faulty

NOW = MIDNIGHT + 12 * 3_600_000
SITE_DAY = SiteDay(SITE, MIDNIGHT // DAY)
TOTALS = a_question("hits", time_grain=pb.TIME_GRAIN_HOUR)
BY_CHANNEL = a_question("hits", dimensions=["channel"])


class Shop(Faulty):
    """A reporter on stores with a single site, which has hits of today."""

    def __init__(self) -> None:
        self.now = ManualClock(NOW)
        super().__init__(open_stores("memory:", self.now, partitions={Topic.HITS: 1, Topic.REJECTED: 1}), self.now)
        self.stores.directory.create_site(Site(SITE, "UTC", "USD", b"s" * 32))
        self.partition = PartitionId(self.stores.log.log_id(Topic.HITS), 0)
        self.writer = self.stores.outbox.take_over()
        self.offset = 0

    def stream(self, hits: int, *, is_flushed: bool = True) -> None:
        """Commit hits of the current hour.

        The metric store counts the hits. If `is_flushed` is true, the series store counts the hits too.
        """
        self.offset += 1
        self.stores.dirty.await_close([SITE_DAY])
        rows = stream_frame(RowSource.TRAFFIC, [traffic(NOW - DAY // 24, hits=hits, generation=0)])
        no_visits = stream_frame(RowSource.VISITS, [])
        reached = {self.partition: PartitionProgress(self.offset, self.now.now())}
        self.stores.outbox.transaction(self.writer, [FoldedRows(self.partition, rows, no_visits)], reached)
        if is_flushed:
            self.stores.series.put_partials(partials_of(rows, no_visits, self.partition, self.offset))
            self.stores.series.note_flushed(reached)

    def ask(self, question: pb.RunReportRequest) -> pb.RunReportResponse:
        return run_report(self.backend, None, question)

    def hits(self, question: pb.RunReportRequest) -> int:
        return sum(row.cells[0].int64_value for row in self.ask(question).rows)

    def explain(self, question: pb.RunReportRequest) -> pb.ExplainReportResponse:
        return explain_report(self.backend, None, pb.ExplainReportRequest(report=question))

    def freshness(self) -> pb.GetFreshnessResponse:
        return get_freshness(self.backend, None, pb.GetFreshnessRequest(site=SITE))


@pytest.fixture
def shop() -> Shop:
    made = Shop()
    made.stream(3)
    return made


def test_each_question_is_answered_by_its_store(shop: Shop) -> None:
    totals, by_channel = shop.ask(TOTALS).meta, shop.ask(BY_CHANNEL).meta
    assert (totals.path, totals.served_by) == (pb.SERVING_PATH_SERIES, pb.STORE_CASSANDRA)
    assert (by_channel.path, by_channel.served_by) == (pb.SERVING_PATH_METRICS, pb.STORE_DRUID)
    assert list(totals.warnings) == list(by_channel.warnings) == []
    assert totals.data_version == by_channel.data_version == "s0.p1"
    assert shop.hits(TOTALS) == shop.hits(BY_CHANNEL) == 3


def test_while_the_metrics_are_silent_totals_over_time_are_answered(shop: Shop) -> None:
    shop.metrics.is_silent = True
    assert shop.hits(TOTALS) == 3
    with pytest.raises(Unavailable, match="One site's totals over time") as refused:
        shop.ask(BY_CHANNEL)
    assert refused.value.retry_after_s == RETRY_AFTER_S
    retry = error_details_pb2.RetryInfo()
    assert [detail.Unpack(retry) for detail in status_of(refused.value).details][-1]
    assert retry.retry_delay.seconds == RETRY_AFTER_S


def test_while_the_series_are_silent_the_metrics_answer_with_a_warning(shop: Shop) -> None:
    shop.series.is_silent = True
    found = shop.ask(TOTALS)
    assert (found.meta.path, found.meta.served_by) == (pb.SERVING_PATH_METRICS, pb.STORE_DRUID)
    assert any("is unavailable" in warning for warning in found.meta.warnings)
    assert shop.hits(TOTALS) == 3


def test_a_silent_store_is_not_called_during_the_pause(shop: Shop) -> None:
    shop.series.is_silent = True
    for _ in range(5):
        shop.ask(TOTALS)
    assert len(shop.series.refused) == 1
    shop.series.is_silent = False
    assert shop.ask(TOTALS).meta.path == pb.SERVING_PATH_METRICS
    shop.now.advance(PAUSE_MS)
    assert shop.ask(TOTALS).meta.path == pb.SERVING_PATH_SERIES


def test_while_both_stores_are_silent_the_error_has_a_retry_delay(shop: Shop) -> None:
    shop.series.is_silent = shop.metrics.is_silent = True
    with pytest.raises(Unavailable) as refused:
        shop.ask(TOTALS)
    assert refused.value.retry_after_s == RETRY_AFTER_S
    with pytest.raises(Unavailable, match="a moment ago") as again:
        shop.ask(TOTALS)
    assert again.value.retry_after_s == 1.0


def test_without_cassandra_the_metrics_answer_with_what_is_remembered(shop: Shop) -> None:
    shop.ask(TOTALS)
    shop.silence_cassandra()
    shop.now.advance(60_000)
    shop.stream(4)
    found = shop.ask(BY_CHANNEL)
    assert sum(row.cells[0].int64_value for row in found.rows) == 7
    assert any("settlement state is 60 s old" in warning for warning in found.meta.warnings)
    assert ".q" in found.meta.data_version, "it cannot be had again"
    assert found.meta.freshness.complete_through.ToMilliseconds() == NOW, "what came since may wait unknown"
    assert found.meta.freshness.lag.ToMilliseconds() == 60_000
    assert shop.ask(TOTALS).meta.path == pb.SERVING_PATH_METRICS
    shop.silence_cassandra(silent=False)
    shop.now.advance(PAUSE_MS)
    back = shop.ask(BY_CHANNEL).meta
    assert (list(back.warnings), back.data_version) == ([], "s0.p2")


def test_history_that_is_known_to_wait_holds_back_what_is_remembered(shop: Shop) -> None:
    shop.stores.dirty.mark([DirtyMark(SITE_DAY, Position(*shop.partition, 0), NOW - 7_000, hits=1)])
    shop.ask(TOTALS)
    shop.silence_cassandra()
    assert shop.ask(BY_CHANNEL).meta.freshness.complete_through.ToMilliseconds() == NOW - 7_000


def test_remembered_generations_are_forgotten_after_five_minutes(shop: Shop) -> None:
    shop.ask(BY_CHANNEL)
    shop.silence_cassandra()
    shop.now.advance(MAX_AGE_MS)
    assert shop.hits(BY_CHANNEL) == 3
    shop.now.advance(PAUSE_MS)
    with pytest.raises(Unavailable) as refused:
        shop.ask(BY_CHANNEL)
    assert "totals over time" not in refused.value.message, "they need what is silent"


def test_days_that_were_never_queried_are_not_remembered(shop: Shop) -> None:
    shop.ask(a_question("hits", time_range=pb.TimeRange(last_days=1)))
    shop.silence_cassandra()
    with pytest.raises(Unavailable):
        shop.ask(a_question("hits", time_range=pb.TimeRange(last_days=9)))


def test_an_answer_has_the_progress_of_the_store_that_answered(shop: Shop) -> None:
    shop.now.advance(30_000)
    shop.stream(4, is_flushed=False)
    totals, by_channel = shop.ask(TOTALS), shop.ask(BY_CHANNEL)
    assert totals.meta.freshness.complete_through.ToMilliseconds() == NOW
    assert by_channel.meta.freshness.complete_through.ToMilliseconds() == NOW + 30_000
    assert (shop.hits(TOTALS), shop.hits(BY_CHANNEL)) == (3, 7)
    assert ".q" in totals.meta.data_version, "more may be in the partials than is noted as flushed"
    assert by_channel.meta.data_version == "s0.p2"


def test_freshness_is_the_minimum_of_the_answering_stores_and_lists_each_store(shop: Shop) -> None:
    shop.now.advance(30_000)
    shop.stream(4, is_flushed=False)
    found = shop.freshness()
    assert found.freshness.complete_through.ToMilliseconds() == NOW
    assert found.partitions[0].next_offset == 1
    assert [
        (status.path, status.store, status.answers, status.complete_through.ToMilliseconds()) for status in found.stores
    ] == [
        (pb.SERVING_PATH_SERIES, pb.STORE_CASSANDRA, True, NOW),
        (pb.SERVING_PATH_METRICS, pb.STORE_DRUID, True, NOW + 30_000),
    ]
    shop.metrics.is_silent = True
    without = shop.freshness()
    assert [status.answers for status in without.stores] == [True, False]
    assert without.freshness.complete_through.ToMilliseconds() == NOW
    shop.silence_cassandra()
    shop.now.advance(PAUSE_MS)
    with pytest.raises(Unavailable):
        shop.freshness()
    shop.metrics.is_silent = False
    shop.now.advance(PAUSE_MS)
    from_memory = shop.freshness()
    assert [status.answers for status in from_memory.stores] == [False, True]
    assert from_memory.freshness.complete_through.ToMilliseconds() == NOW, "as far as what is remembered holds"


def test_a_partition_of_which_nothing_was_flushed_holds_the_series_back(shop: Shop) -> None:
    other = Shop()
    other.stream(3, is_flushed=False)
    assert other.ask(TOTALS).meta.freshness.complete_through.ToMilliseconds() == 0
    assert other.ask(BY_CHANNEL).meta.freshness.complete_through.ToMilliseconds() == NOW


def test_settled_days_of_which_no_series_were_kept_are_answered_by_the_metrics(shop: Shop) -> None:
    publish_day(shop.stores.generations, SITE_DAY, NOW)
    meta = shop.ask(TOTALS).meta
    assert (meta.path, list(meta.warnings)) == (pb.SERVING_PATH_METRICS, [])


def test_explain_names_the_store_the_reason_and_the_reads(shop: Shop) -> None:
    totals = shop.explain(a_question("hits,visitors,net_revenue", time_grain=pb.TIME_GRAIN_HOUR, include_totals=True))
    assert (totals.path, totals.store) == (pb.SERVING_PATH_SERIES, pb.STORE_CASSANDRA)
    assert "one site's totals over time" in totals.reason
    (read,) = totals.reads
    assert (read.source, read.site_days, read.requests) == ("series", 1, 1)
    assert {"hits", "visitors", "gross_revenue", "refunds", "excluded_hits"} == set(read.columns)
    assert totals.request.time_zone == "UTC"
    by_channel = shop.explain(BY_CHANNEL)
    assert (by_channel.path, by_channel.store) == (pb.SERVING_PATH_METRICS, pb.STORE_DRUID)
    assert "breaks down by channel" in by_channel.reason
    assert [
        (store_read.source, list(store_read.columns), list(store_read.dimensions)) for store_read in by_channel.reads
    ] == [
        ("traffic", ["hits"], ["channel"]),
        ("traffic", ["excluded_hits"], []),
    ]


def test_explain_names_the_store_that_answers_while_another_is_silent(shop: Shop) -> None:
    shop.series.is_silent = True
    shop.ask(TOTALS)
    found = shop.explain(TOTALS)
    assert found.path == pb.SERVING_PATH_METRICS
    assert "but the series store is unavailable" in found.reason


def test_an_export_names_the_store_and_the_path_like_a_report(shop: Shop) -> None:
    shop.series.is_silent = True
    request = export_pb2.ExportReportRequest(site=SITE, metrics=["hits"], last="today", format="json")
    file = export_report(shop.backend, None, request)
    assert b'"served_by":"druid"' in file.content.replace(b" ", b"")
    assert b'"path":"metrics"' in file.content.replace(b" ", b"")
    assert any("is unavailable" in warning for warning in file.answer.warnings)
