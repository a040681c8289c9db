"""Read the first `limit` site-days of several sorted sources, in pages that are much smaller than `limit` rows.

Sites are spread evenly over 32 buckets. The first 126 rows in each bucket are therefore usually enough to find the
first 2,000 site-days. This module sends no query; the caller passes a function that reads pages.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

MIN_PAGE_ROWS: Final = 64


class OfSite(Protocol):
    """A row that belongs to a site and a day."""

    @property
    def site(self) -> str:
        """Full name."""

    @property
    def day(self) -> int:
        """UTC day."""


K = TypeVar("K", bound=Hashable)
R = TypeVar("R", bound=OfSite)


class PageRequest(NamedTuple):
    """A page to read: at most `rows` rows, beginning with the rows of the site `from_site`."""

    from_site: str
    rows: int


ReadPages = Callable[[Mapping[K, PageRequest]], Mapping[K, Sequence[R]]]


def first_rows(begin: Mapping[K, str], read: ReadPages[K, R], limit: int) -> list[R]:
    """Return the rows of the first site-days, ordered by (site, day).

    The result covers at least `limit` + 1 site-days, or all site-days if fewer exist. The result has all rows of each
    returned site, unless the site has more than `limit` days.

    Args:
        begin: for each source, the site at which the read begins.
        read: returns the rows of the requested pages, each page sorted by (site, day). If a page has fewer rows than
            requested, the source has no further page.
        limit: the number of site-days that the caller needs.
    """
    requests = {
        source: PageRequest(site, max(MIN_PAGE_ROWS, 2 * limit // len(begin))) for source, site in begin.items()
    }
    complete: list[R] = []
    cut: dict[K, list[R]] = {}
    while requests:
        for source, rows in read(requests).items():
            request = requests.pop(source)
            if len(rows) < request.rows:
                complete += rows
                continue
            last = rows[-1].site
            complete += [row for row in rows if row.site != last]
            of_last = [row for row in rows if row.site == last]
            if len({row.day for row in of_last}) > limit:
                cut[source] = of_last
            else:
                grown = request.rows * 2 if len(of_last) == len(rows) else request.rows
                requests[source] = PageRequest(last, grown)
        ends = [request.from_site for request in requests.values()]
        known = [row for row in complete if not ends or row.site < min(ends)]
        if len({(row.site, row.day) for row in known}) > limit:
            complete = known
            break
    return sorted([*complete, *(row for rows in cut.values() for row in rows)], key=lambda row: (row.site, row.day))
