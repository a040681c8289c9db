"""Defines the failure that ends a reprocessing's work, with the site-day that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.errors import FatalError, HitmeshError, RetryError, StaleGeneration
from hitmesh.model.sites import SiteDay
from processor.any_error import ANY_ERROR

_MAX_CHARS: Final = 300


class SiteDayFailed(FatalError):
    """A site-day cannot be recomputed or published, so the reprocessing's work ends."""

    def __init__(self, site_day: SiteDay, cause: BaseException) -> None:
        text = cause.message if isinstance(cause, HitmeshError) else f"{type(cause).__name__}: {cause}"[:_MAX_CHARS]
        super().__init__(
            f"{site_day.site}, UTC day {date_text(site_day.day)}: {text.rstrip('.')}. "
            "Remove the cause and request the work again. Otherwise, cancel a failed recomputation, roll back a failed "
            "publication, or publish after a failed rollback."
        )


@contextmanager
def naming(site_day: SiteDay) -> Iterator[None]:
    """Turn errors into SiteDayFailed, except errors after which the next pass can continue."""
    try:
        yield
    except (RetryError, StaleGeneration, SiteDayFailed):
        raise
    except ANY_ERROR as error:
        raise SiteDayFailed(site_day, error) from error
