"""Test a site's texts beyond a limit (rule S10): folding in the stream, marked answers, and settlement."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from random import Random

import polars as pl
import pytest

from hitmesh.model.cells import HOUR_MS
from hitmesh.model.filters import Comparison, Filter, Not, Operator
from hitmesh.model.rows.rollup_rows import FOLDED
from processor.stream.live.folding import FOLDED_COLUMNS, FoldedTexts
from processor.stream.live.kept import KEPT_COLUMNS
from processor.stream.live.limits import Limits
from reporter.answer.series import Exactness
from reporter.rpc.answer import Answer, answer
from reporter.rpc.backend import Backend
from tests.reference.hits import RefHit, RefItem
from tests.support.live_mesh import FOLDING, LiveMesh
from tests.support.settled_rows import MIDNIGHT, a_question

SITE = "merchants/m/sites/s"
NOON = MIDNIGHT + 12 * HOUR_MS
LIMIT = 2 * len(FOLDED_COLUMNS)  # the maximum number of texts in two hits


def kept(pages: Sequence[str], first_row: int = 0, site: int = 0, skus: Sequence[str] = ()) -> pl.DataFrame:
    """Return hits of a log record, with the given pages and products."""
    items = [{"sku": sku, "category": None, "brand": "b", "unit_price": 1, "quantity": 1} for sku in skus] or None
    rows = [
        dict.fromkeys(KEPT_COLUMNS)
        | {"site": site, "offset": 0, "row": first_row + place, "page_path": page, "items": items}
        for place, page in enumerate(pages)
    ]
    return pl.DataFrame(rows, schema=KEPT_COLUMNS, orient="row")


def pages(count: int, first: int = 0) -> list[str]:
    return [f"/{number}" for number in range(first, first + count)]


def test_texts_within_the_limit_are_kept_and_texts_beyond_are_folded() -> None:
    texts = FoldedTexts(Limits(texts_per_hour=LIMIT))
    # Two hits cannot have more texts than the limit.
    assert texts.take(kept(pages(2)), 0)["page_path"].to_list() == pages(2)
    found = texts.take(kept(pages(LIMIT + 3, first=2), first_row=2), 0)["page_path"].to_list()
    assert found == [*pages(LIMIT, first=2), FOLDED, FOLDED, FOLDED]
    again = kept(["/2", "/0", "/new"], first_row=99)
    assert texts.take(again, 0)["page_path"].to_list() == ["/2", FOLDED, FOLDED]
    assert again["page_path"].to_list() == ["/2", "/0", "/new"]


def test_texts_before_the_first_inspected_hit_do_not_count_even_in_the_same_window() -> None:
    texts = FoldedTexts(Limits(texts_per_hour=LIMIT))
    found = texts.take(kept(pages(LIMIT + 5)), 0)["page_path"].to_list()
    assert found == [*pages(LIMIT + 2), FOLDED, FOLDED, FOLDED]


def test_each_site_and_hour_has_its_own_limit_of_texts() -> None:
    texts = FoldedTexts(Limits(texts_per_hour=LIMIT))
    texts.take(kept(pages(2 * LIMIT)), 0)
    assert texts.take(kept(["/x"], site=1), HOUR_MS - 1)["page_path"].to_list() == ["/x"]
    assert texts.take(kept(["/x"], first_row=99), HOUR_MS - 1)["page_path"].to_list() == [FOLDED]
    assert texts.take(kept(["/x"]), HOUR_MS)["page_path"].to_list() == ["/x"]
    texts.forget_before(HOUR_MS)
    assert texts.to_frame()["hour"].to_list() == [HOUR_MS]


def test_products_of_an_order_are_texts() -> None:
    texts = FoldedTexts(Limits(texts_per_hour=4))
    (items,) = texts.take(kept(["/"], skus=pages(5)), 0)["items"].to_list()
    assert [item["sku"] for item in items] == [
        *pages(2),
        FOLDED,
        FOLDED,
        FOLDED,
    ]  # the page and the first item's brand also count towards the limit
    assert {(item["brand"], item["category"], item["unit_price"]) for item in items} == {("b", None, 1)}


@pytest.mark.parametrize("seed", range(20))
def test_how_records_are_cut_changes_no_text(seed: int) -> None:
    dice = Random(seed)
    rows = pl.concat(
        kept([f"/{dice.randrange(40)}"], first_row=row, site=dice.randrange(2), skus=pages(dice.randrange(3)))
        for row in range(60)
    )
    limits = Limits(texts_per_hour=dice.choice([1, 5, LIMIT, 100]))
    whole, cut = FoldedTexts(limits), FoldedTexts(limits)
    expected = whole.take(rows, 0)
    ends = [0, *sorted(dice.sample(range(1, 60), 5)), 60]
    found = []
    for begin, end in itertools.pairwise(ends):
        found.append(cut.take(rows[begin:end], 0))
        restored = FoldedTexts(limits)
        restored.restore(cut.to_frame())
        assert restored.again(rows[:end], 0).equals(pl.concat(found))
        cut = restored
    assert pl.concat(found).equals(expected)


class Shop:
    """A mesh with a site that has more pages than the limit, and a reporter on this mesh."""

    def __init__(self, home: Path) -> None:
        self.mesh = LiveMesh(f"embedded:{home}/data", home / "kept", NOON - HOUR_MS, [SITE], limits=FOLDING)
        stores = self.mesh.stores
        tokens = itertools.count()
        self.backend = Backend(
            directory=stores.directory,
            generations=stores.generations,
            dirty=stores.dirty,
            metrics=stores.metrics,
            series=stores.series,
            progress=stores.progress,
            ledger=stores.ledger,
            erasures=stores.erasures,
            streams=stores.streams,
            stream=stores.stream,
            clock=self.mesh.clock,
            new_token=lambda: f"token{next(tokens)}",
        )

    def ask(self, metrics: str, dimensions: str = "", tree: Filter | None = None) -> Answer:
        site = self.mesh.stores.directory.site(SITE)
        assert site is not None
        question = a_question(metrics, dimensions=dimensions, tree=tree, until="2015-05-17")
        return answer(self.backend, question, (site,), "USD", ())

    def values(self, found: Answer) -> dict[tuple[str, ...], int]:
        keys = zip(*found.rows.dimensions, strict=True) if found.rows.dimensions else iter([()])
        return dict(zip(keys, found.rows.columns[0].numerators.tolist(), strict=True))


def exactness(found: Answer) -> list[Exactness]:
    return [column.exactness for column in found.rows.columns]


@pytest.mark.timeout(300)  # the test streams two days of heartbeats
def test_answer_is_marked_as_folded_until_the_texts_are_settled(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with shop.mesh as mesh:
        mesh.advance_to(NOON)
        views = ["/a", "/b", "/c", "/d", "(other)", "/a"]
        item = (RefItem("sku", None, None, 1_000_000, 1),)
        order = RefHit(SITE, "v5", "order", NOON + 9, "ORDER", order_id="o", items=item, total_micros=5, currency="USD")
        hits = [RefHit(SITE, f"v{n}", f"hit-{n}", NOON + n, page_path=page) for n, page in enumerate(views)]
        mesh.append([*hits, order], 0)
        mesh.step()
        mesh.runner.flush()
        folded, exact = Exactness.TEXTS_FOLDED, Exactness.EXACT
        by_page = shop.ask("pageviews,visits", "page_path")
        assert shop.values(by_page) == {("/a",): 2, ("/b",): 1, ("/c",): 1, ("(other)",): 2}
        assert exactness(by_page) == [folded, folded]
        of_page = shop.ask("pageviews", tree=Comparison("page_path", Operator.EQ, ("/b",)))
        assert (shop.values(of_page), exactness(of_page)) == ({(): 1}, [folded])
        others = shop.ask("hits", "hit_type", tree=Not(Comparison("landing_page", Operator.EQ, ("/b",))))
        assert exactness(others) == [folded]
        # Answers without a folded text are exact.
        for found in (shop.ask("pageviews"), shop.ask("pageviews", "browser"), shop.ask("pageviews", "event_name")):
            assert exactness(found) == [exact]
        assert shop.values(shop.ask("pageviews")) == {(): 6}
        assert exactness(shop.ask("items_sold", "product")) == [folded]
        mesh.settle()
        (drift,) = mesh.stores.generations.drifts(SITE, 0, 10**6).values()
        assert (drift.confirmed, drift.rows_differ, drift.measures) == (False, True, {})
        by_page = shop.ask("pageviews,visits", "page_path")
        settled = {("/a",): 2, ("/b",): 1, ("/c",): 1, ("/d",): 1, (r"\(other)",): 1}
        assert (shop.values(by_page), exactness(by_page)) == (settled, [exact, exact])
