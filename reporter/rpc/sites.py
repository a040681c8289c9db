"""The sites that a question names: a single site, or all sites of a merchant with `sites/-`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.access.checks import site_not_found
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import MERCHANT_PATTERN, SITE_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site
from reporter.question.catalogue import Metric
from reporter.rpc.backend import Backend

MAX_SITES: Final = 1_000
_ALL_SITES: Final = "/sites/-"


def sites_named(backend: Backend, name: str) -> tuple[Site, ...]:
    """Return the site with this name, or all sites for `merchants/{m}/sites/-`; at least one site.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the text is not a site name, or the merchant has too many sites for an answer.
    """
    if name.endswith(_ALL_SITES) and MERCHANT_PATTERN.fullmatch(name.removesuffix(_ALL_SITES)):
        return _all_sites(backend, name.removesuffix(_ALL_SITES), name)
    if not SITE_PATTERN.fullmatch(name):
        raise RefusedError(
            f"site {name[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}, "
            "where both names have only a-z, 0-9 and '-', or merchants/{merchant}/sites/- for all sites of a merchant",
            field="site",
            value=name,
        )
    site = backend.directory.site(name)
    if site is None:
        raise site_not_found(name, "site")
    return (site,)


def default_zone(sites: Sequence[Site]) -> tuple[str, tuple[str, ...]]:
    """Return the time zone for a report without a zone, and a warning if the sites have several zones."""
    zones = sorted({site.time_zone for site in sites})
    if len(zones) == 1:
        return zones[0], ()
    named = ", ".join(zones[:3]) + (" and others" if len(zones) > 3 else "")
    return "UTC", (f"the sites have {len(zones)} time zones ({named}): UTC is used; set a time zone to choose another",)


def currency_of(sites: Sequence[Site], metrics: Sequence[Metric]) -> str:
    """Return the sites' currency.

    The result is empty if currencies differ and no metric is about money.

    Raises:
        RefusedError: the currencies differ and a metric is about money (MIXED_CURRENCIES).
    """
    currencies = sorted({site.currency for site in sites})
    if len(currencies) == 1:
        return currencies[0]
    money = [metric.id for metric in metrics if metric.has_money]
    if money:
        raise RefusedError(
            f"{', '.join(money)} over sites in {', '.join(currencies)} cannot be added up: ask for each site alone, "
            "or leave these metrics out",
            field="metrics",
            reason=ErrorReason.MIXED_CURRENCIES,
            metrics=", ".join(money),
            currencies=", ".join(currencies),
        )
    return ""


def _all_sites(backend: Backend, merchant: str, name: str) -> tuple[Site, ...]:
    sites = tuple(backend.directory.sites(merchant, "", MAX_SITES + 1))
    if not sites:
        raise site_not_found(name, "site")
    if len(sites) > MAX_SITES:
        raise RefusedError(
            f"{merchant} has more than {MAX_SITES:,} sites, the limit of one answer: ask for single sites",
            field="site",
            reason=ErrorReason.TOO_MANY_SITES,
            merchant=merchant,
            limit=MAX_SITES,
        )
    return sites
