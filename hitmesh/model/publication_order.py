"""The order in which reprocessings were first published: corrections are undone in reverse order. Pure.

A publication replaces the results of earlier publications on the same site-days. If an earlier reprocessing were rolled
back or published again after a later reprocessing, the correction of the later reprocessing would be lost. The later
reprocessing would stay in the state PUBLISHED although its correction is lost. While a later reprocessing is published
on the same site-days, a rollback and a repeated publication are therefore refused. A site-day's corrections thus keep
the order in which they were first published, even after rollbacks.
"""

from __future__ import annotations

from collections.abc import Iterable

from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Reprocessing, State, Work


def must_be_newest(reprocessing: Reprocessing, work: Work | None) -> bool:
    """Return whether the work must be refused while a later reprocessing is published on the same site-days.

    A rollback and a repeated publication must be refused, except for an erasure. A first publication must not be
    refused. Other reprocessings of the same site-days are not accepted between the recomputation and the first
    publication.

    Example:
        >>> first = Reprocessing("r1", Kind.LOGIC, "v1", ("merchants/demo/sites/shop",), 0, 7, 0, 0)
        >>> must_be_newest(first, Work.ROLL_BACK), must_be_newest(first, Work.PUBLISH)
        (True, False)
    """
    if reprocessing.kind is Kind.ERASE:
        return False
    is_again = reprocessing.published_at > 0 or reprocessing.state is State.ROLLED_BACK
    return work is Work.ROLL_BACK or (work is Work.PUBLISH and is_again)


def publication_time(reprocessing: Reprocessing) -> int:
    """Return the time at which the first publication began.

    If an older program stored the reprocessing, return the time of the last change.

    Example:
        >>> publication_time(Reprocessing("r1", Kind.LOGIC, "v1", (), 0, 7, 0, 30))
        30
    """
    return reprocessing.published_at or reprocessing.updated_at


def published_after(reprocessing: Reprocessing, stored: Iterable[Reprocessing]) -> Reprocessing | None:
    """Return the last reprocessing that was published after `reprocessing` on the same site-days, or None.

    Only reprocessings in state PUBLISHED count. Reprocessings are ordered by the time of their first publication.

    Example:
        >>> site = ("merchants/demo/sites/shop",)
        >>> first = Reprocessing("r1", Kind.LOGIC, "v1", site, 0, 7, 0, 0, State.PUBLISHED, published_at=5)
        >>> second = Reprocessing("r2", Kind.LOGIC, "v1", site, 6, 9, 0, 0, State.PUBLISHED, published_at=8)
        >>> found = published_after(first, [first, second])
        >>> found.id if found else None
        'r2'
    """
    later = [
        other
        for other in stored
        if other.state is State.PUBLISHED
        and other.id != reprocessing.id
        and publication_time(other) > publication_time(reprocessing)
        and reprocessing.overlaps(other)
    ]
    return max(later, key=publication_time, default=None)


def next_publication_time(stored: Iterable[Reprocessing], now: int) -> int:
    """Return the time for a new publication, which is usually `now`.

    If clocks differ, and a stored publication has the time `now` or a later time, the result is 1 ms after the latest
    stored publication.

    Example:
        >>> next_publication_time([Reprocessing("r1", Kind.LOGIC, "v1", (), 0, 7, 0, 0, published_at=50)], 40)
        51
    """
    return max([now, *(publication_time(each) + 1 for each in stored)])
