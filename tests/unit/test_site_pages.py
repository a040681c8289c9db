"""Test pages from several sorted sources: a page has the first site-days of all sources, and few rows are read."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from hitmesh.adapters.cassandra.pages import MIN_PAGE_ROWS, PageRequest, first_rows
from hitmesh.adapters.shared.marks import whole_sites
from hitmesh.model.sites import SiteDay
from tests.support.examples import examples


class Sources:
    """Several sources of sorted rows. The sources count the rows that are read."""

    def __init__(self, rows: Mapping[int, list[SiteDay]]) -> None:
        self._rows = {source: sorted(of_source) for source, of_source in rows.items()}
        self.read_rows = 0

    def pages(self, requests: Mapping[int, PageRequest]) -> dict[int, list[SiteDay]]:
        found = {
            source: [row for row in self._rows[source] if row.site >= request.from_site][: request.rows]
            for source, request in requests.items()
        }
        self.read_rows += sum(map(len, found.values()))
        return found


@given(st.integers(0, 2**16), st.integers(1, 40), st.integers(1, 4), st.integers(1, 200))
@examples(60)
def test_first_site_days_are_those_of_all_rows(seed: int, sites: int, sources: int, limit: int) -> None:
    dice = Random(seed)
    rows: dict[int, list[SiteDay]] = {source: [] for source in range(sources)}
    for number in range(sites):
        days = dice.choice((1, 1, 2, 3 * MIN_PAGE_ROWS))
        rows[number % sources] += [SiteDay(f"s{number:03d}", day) for day in range(days)]
    begin = f"s{dice.choice((0, 0, sites // 2)):03d}"
    wanted = sorted(row for of_source in rows.values() for row in of_source if row.site >= begin)
    found = first_rows(dict.fromkeys(rows, begin), Sources(rows).pages, limit)
    assert list(whole_sites(found, limit)) == list(whole_sites(wanted[: limit + 1], limit))


def test_many_sources_are_not_each_read_to_the_limit() -> None:
    sites = [f"s{number:06d}" for number in Random(0).sample(range(10**6), 100_000)]
    sources = Sources({source: [SiteDay(site, 1) for site in sites[source::32]] for source in range(32)})
    assert len(first_rows(dict.fromkeys(range(32), ""), sources.pages, 2_000)) > 2_000
    assert sources.read_rows <= 2 * 2_000
