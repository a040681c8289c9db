"""Test every kind of native query that is sent to Druid: questions, searches for progress marks, and settlements.

`tests/golden/druid_queries.jsonl` has a line with the name and the JSON of each query. The code reads Druid's answers
by position, so a changed query changes behaviour. `write_golden` writes the file again after an intended change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from hitmesh.adapters.druid.marks import marks_query
from hitmesh.adapters.druid.native import Native
from hitmesh.adapters.druid.proof import proof_of
from hitmesh.adapters.druid.question import rows_query, values_query
from hitmesh.adapters.druid.scan import scan_query
from hitmesh.adapters.druid.sink import counts_query
from hitmesh.adapters.druid.sums import sums_query
from hitmesh.model.cells import Grain
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from reporter.question.plan import excluded_hits_leg, folded_leg, legs
from reporter.question.question import Question
from tests.support.settled_rows import DAY, MIDNIGHT, a_question

GOLDEN = Path(__file__).parents[1] / "golden" / "druid_queries.jsonl"
SOURCE = "mesh_rows"
FIRST_DAY = MIDNIGHT // DAY
GENERATIONS = {
    **{SiteDay("m/a", FIRST_DAY + day): generation for day, generation in enumerate((3, 3, 0, 3))},
    **{SiteDay(f"m/{site}", FIRST_DAY): 4 for site in "bc"},
}
PROOF = proof_of(
    {PartitionId("hits.a", 0): PartitionProgress(7, MIDNIGHT), PartitionId("hits.a", 1): PartitionProgress(0, 0)},
    MIDNIGHT + 2 * DAY,
)
ADS = Comparison("channel", Operator.EQ, ("ads",))
PAGES = Comparison("page_path", Operator.IN, ("/", '/a"b', "(not set)"))
DIRECT = Comparison("source", Operator.NE, ("(direct)",))
PATTERN = Comparison("country", Operator.RE2, ("^D",))
TREES: dict[str, Filter] = {
    "equal": ADS,
    "among": PAGES,
    "unequal": DIRECT,
    "pattern": PATTERN,
    "pattern without matches": Comparison("os", Operator.RE2, ("none",)),
    "tree": Or((And((ADS, Not(PATTERN))), Not(Or((PAGES, DIRECT))), And(()), Or(()))),
}


def a_match(comparison: Comparison) -> Sequence[str]:
    return [] if comparison.values == ("none",) else ["DE", "DK", "(not set)"]


def questions() -> Iterator[tuple[str, Question]]:
    """Yield questions that differ in source, money, sketches, filter, grain and time zone."""
    for metrics in ("orders,net_revenue,average_order_value", "visits,bounce_rate,entries,exits"):
        yield metrics, a_question(metrics, dimensions="page_path" if "visits" in metrics else "product")
    yield "in total", a_question("hits,pageviews,visitors")
    for label, tree in TREES.items():
        yield label, a_question("hits,visitors", tree=tree)
    yield "days", a_question("hits,visitors", dimensions="country", grain=Grain.DAY, zone="Asia/Kathmandu")
    yield "hours", a_question("visits", grain=Grain.HOUR, zone="Europe/Berlin", include_excluded=True)
    clocks = a_question("hits", grain=Grain.DAY, zone="Europe/Berlin", since="2015-03-20", until="2015-04-04")
    yield "days around a change of clocks", clocks
    yield "months", a_question("hits", grain=Grain.MONTH, zone="America/New_York", since="2015-01-10")


def planned() -> Iterator[tuple[str, MetricQuery]]:
    """Yield every query to the metric store that the planner creates for the questions."""
    for name, question in questions():
        for number, leg in enumerate(legs(question, GENERATIONS)):
            yield f"{name}, leg {number}", leg.query
            if (folded := folded_leg(question, leg)) is not None:
                yield f"{name}, leg {number}, folded", folded.query
    excluded = excluded_hits_leg(a_question("hits", tree=ADS), GENERATIONS)
    assert excluded is not None
    yield "excluded hits", excluded.query


def native() -> Iterator[tuple[str, Native]]:
    """Yield the native queries.

    Some queries are yielded a second time, with the progress marks that prove a complete answer.
    """
    for name, query in planned():
        yield f"{name}: rows", rows_query(query, SOURCE, a_match)
        if name.startswith(("in total", "tree, leg 0", "days, ")) and not name.endswith("folded"):
            yield f"{name}: rows with marks", PROOF.with_marks(rows_query(query, SOURCE, a_match))
            yield f"{name}: scan", scan_query(query, SOURCE, a_match)
            yield f"{name}: scan with marks", PROOF.with_marks(scan_query(query, SOURCE, a_match))
            yield f"{name}: values", values_query(query, SOURCE, "channel", a_match, 11)
            yield f"{name}: values with marks", PROOF.with_marks(values_query(query, SOURCE, "channel", a_match, 11))
    for source in RowSource:
        yield f"sums of {source}", sums_query(SOURCE, source, FIRST_DAY, ["m/a", "m/b"])
    owners = [(SiteDay(site, FIRST_DAY), generation) for site, generation in (("m/a", 3), ("m/b", 3), ("m/c", 4))]
    yield "rows sent", counts_query(SOURCE, FIRST_DAY, owners)
    yield "marks", marks_query(SOURCE, ["1970-01-01/2100-01-01"])


def lines() -> dict[str, bytes]:
    return {name: orjson.dumps(query.json(), option=orjson.OPT_SORT_KEYS) for name, query in native()}


def test_every_native_query_is_the_golden_query() -> None:
    stored = [orjson.loads(line) for line in GOLDEN.read_bytes().splitlines()]
    assert [entry["name"] for entry in stored] == list(lines())
    for entry, sent in zip(stored, lines().values(), strict=True):
        assert orjson.loads(sent) == entry["query"], entry["name"]


def write_golden() -> None:
    """Write the golden file again, after a query was changed on purpose."""
    GOLDEN.write_bytes(
        b"".join(b'{"name":%b,"query":%b}\n' % (orjson.dumps(name), text) for name, text in lines().items())
    )
