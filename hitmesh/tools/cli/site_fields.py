"""The fields of a site in the output of commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hitmesh.model.names import short_site_name

if TYPE_CHECKING:
    from hitmesh.api.control.v1 import admin_pb2

SWITCHES: Final = ("consent_by_default", "cookieless_counting", "identify_by_user_id", "store_network")


def list_fields(site: admin_pb2.Site) -> dict[str, str]:
    """Return the fields of a site in a list. Only a deleted site has `delete_time`."""
    fields = {
        "site": short_site_name(site.name),
        "name": site.name,
        "time_zone": site.time_zone,
        "currency": site.currency,
        "create_time": site.create_time.ToJsonString() if site.HasField("create_time") else "",
    }
    return fields | ({"delete_time": site.delete_time.ToJsonString()} if site.HasField("delete_time") else {})


def all_fields(site: admin_pb2.Site) -> dict[str, Any]:
    """Return all fields of a site except the visit policies, which `hitmesh policy show` shows."""
    return {
        **list_fields(site),
        "update_time": site.update_time.ToJsonString(),
        "etag": site.etag,
        "display_name": site.display_name,
        "own_hosts": list(site.own_hosts),
        "allowed_origins": list(site.allowed_origins),
        **{name: getattr(site, name) for name in SWITCHES},
        "spread": site.spread,
    }
