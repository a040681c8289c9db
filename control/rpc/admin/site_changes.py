"""Changes of sites: which fields a request changes, and how a change is stored while other callers change the site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from control.rpc.admin.merchants import refuse_other_etag
from control.rpc.admin.site_messages import etag_of, site_message
from control.rpc.admin.site_values import checked_display_name, checked_hosts, checked_origins
from hitmesh.access.checks import checked_site_name, site_not_found
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import AlreadyExists, RefusedError, Unavailable
from hitmesh.model.rule_changes import with_networks
from hitmesh.model.sites import Site
from hitmesh.ports import SiteDirectory

_ATTEMPTS: Final = 5
_POLICY: Final = ("visit_policy", "visit_policy_changes")
_NOT_VALUES: Final = ("name", "etag")

_Change = Callable[[Site, pb.Site, int], Site]
_CHANGES: Final[Mapping[str, _Change]] = MappingProxyType(
    {
        "display_name": lambda site, wanted, _: replace(
            site, display_name=checked_display_name(wanted.display_name, "site.display_name")
        ),
        "own_hosts": lambda site, wanted, _: replace(site, own_hosts=checked_hosts(wanted.own_hosts, "site.own_hosts")),
        "allowed_origins": lambda site, wanted, _: replace(
            site, allowed_origins=checked_origins(wanted.allowed_origins, "site.allowed_origins")
        ),
        "consent_by_default": lambda site, wanted, _: replace(site, consent_by_default=consent_in(wanted)),
        "cookieless_counting": lambda site, wanted, _: replace(site, cookieless_counting=wanted.cookieless_counting),
        "identify_by_user_id": lambda site, wanted, _: replace(site, identify_by_user_id=wanted.identify_by_user_id),
        "store_network": lambda site, wanted, now: replace(
            site, rules=with_networks(site.rules, stored=wanted.store_network, now=now)
        ),
    }
)
"""The fields that UpdateSite may change, each with the function that changes the site (now in UTC ms)."""


def consent_in(wanted: pb.Site) -> bool:
    """Return the consent default in a message; the default is True."""
    return wanted.consent_by_default if wanted.HasField("consent_by_default") else True


def changed_paths(wanted: pb.Site, mask: Sequence[str]) -> list[str]:
    """Return the fields that a request changes.

    Args:
        wanted: the site in the request.
        mask: the paths of update_mask; `*` stands for all fields that can be changed.

    Raises:
        RefusedError: the mask names a field that does not exist or cannot be changed.
    """
    for path in mask:
        if path != "*" and path not in _CHANGES:
            raise _not_changeable(path)
    if "*" in mask:
        return list(_CHANGES)
    return list(mask) or [field.name for field, _ in wanted.ListFields() if field.name in _CHANGES]


def refuse_nothing_to_change(wanted: pb.Site, mask: Sequence[str]) -> None:
    """Raise if a request without a mask sets no value.

    `cookieless_counting` and `identify_by_user_id` have no presence, so a request that only sets such a field to false
    arrives like a request that sets nothing. The caller must not take the answer for a change.

    Raises:
        RefusedError: the request changes nothing.
    """
    if not mask and all(field.name in _NOT_VALUES for field, _ in wanted.ListFields()):
        raise RefusedError(
            "the request changes nothing: name the fields to change in update_mask; without a mask, "
            "cookieless_counting and identify_by_user_id can change only to true",
            field="update_mask",
        )


def refuse_other_values(wanted: pb.Site, site: Site) -> None:
    """Raise if a field that cannot be changed is set, and differs from the stored site.

    Raises:
        RefusedError: a field differs.
    """
    stored = site_message(site)
    for field, value in wanted.ListFields():
        if field.name not in (*_CHANGES, *_NOT_VALUES) and value != getattr(stored, field.name):
            raise RefusedError(
                f"field {field.name!r} cannot be changed: {_cure(field.name)}",
                field=f"site.{field.name}",
                value=str(value)[:64],
            )


def refuse_other_site(wanted: pb.Site, requested: Site, existing: Site) -> None:
    """Raise if a field that a request to create a site sets differs from the site that exists.

    Fields that the request does not set are not compared, so that a repeated request succeeds after UpdateSite changed
    other fields.

    Args:
        wanted: the site in the request.
        requested: the site that the request describes, with values in their stored form.
        existing: the stored site.

    Raises:
        AlreadyExists: a field differs.
    """
    given, stored = site_message(requested), site_message(existing)
    for field, _ in wanted.ListFields():
        new, old = getattr(given, field.name), getattr(stored, field.name)
        if field.name in (*_CHANGES, "spread") and new != old:
            cure = "use the existing value" if field.name == "spread" else "change the site with UpdateSite"
            raise AlreadyExists(
                f"site {existing.name} exists with {field.name} {_shown(old)}, not {_shown(new)}: {cure}, or use "
                "another site name",
                field=f"site.{field.name}",
                site=existing.name,
                value=_shown(new),
                existing=_shown(old),
            )


def _shown(value: object) -> str:
    """Return a value of a site for an error message, at most 160 characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text[:160]


def with_values(site: Site, wanted: pb.Site, paths: Sequence[str], now: int) -> Site:
    """Return the site with the wanted values of the fields in `paths`.

    Raises:
        RefusedError: a value is invalid, or rules of kind NETWORK need the addresses (RULE_NOT_APPLICABLE).
    """
    for path in paths:
        site = _CHANGES[path](site, wanted, now)
    return site


def stored_change(
    directory: SiteDirectory,
    name: str,
    now: int,
    change: Callable[[Site], Site],
    *,
    field: str = "name",
    etag: str = "",
    etag_field: str = "etag",
    is_deleted: bool = False,
) -> Site:
    """Change a site, and return the stored site. Other callers may change the site at the same time.

    If the change alters nothing, the stored values stay as they are. Caches read the site again, because an earlier
    call may have failed after it stored the change and before it invalidated the caches.

    Args:
        directory: the stored sites.
        name: full name of the site.
        now: the current time, in UTC ms.
        change: returns the changed site; may be called several times.
        field: the field of the request with the name.
        etag: the etag that the site must have; empty for any.
        etag_field: the field of the request with the etag.
        is_deleted: whether a deleted site may be changed.

    Raises:
        NotFound: the site does not exist.
        RefusedError: raised by the change, or the site has another etag (ETAG_MISMATCH).
        Unavailable: other callers changed the site at every attempt.
    """
    checked_site_name(name, field)
    for _ in range(_ATTEMPTS):
        site = directory.site_or_deleted(name, fresh=True)
        if site is None:
            raise site_not_found(name, field)
        if site.deleted_at is not None and not is_deleted:
            directory.change_site(site, site)
            raise site_not_found(name, field)
        refuse_other_etag(etag, etag_of(site), name, etag_field)
        changed = change(site)
        if changed == site:
            directory.change_site(site, site)
            return site
        changed = replace(changed, revision=site.revision + 1, updated_at=now)
        if directory.change_site(site, changed):
            return changed
    raise Unavailable("other callers changed the site at every attempt: call again")


def _not_changeable(path: str) -> RefusedError:
    if path in pb.Site.DESCRIPTOR.fields_by_name:
        cure = _cure(path) if path in _POLICY else "leave it out of update_mask"
        message = f"field {path!r} cannot be changed: {cure}"
        return RefusedError(message, field="update_mask", value=path)
    known = ", ".join(_CHANGES)
    return RefusedError(
        f"a site has no field {path[:64]!r}: name only {known}, or *", field="update_mask", value=path[:64], known=known
    )


def _cure(field: str) -> str:
    if field in _POLICY:
        return "schedule a change with `hitmesh policy schedule` (ScheduleVisitPolicy)"
    return "leave it out, or send the value that the site has"
