"""Shows an erasure's receipt as a table or as JSON."""

from __future__ import annotations

from typing import Any

from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.dates import date_text_of
from hitmesh.model.plurals import counted
from hitmesh.tools.cli.output import echo, print_table

_NOT_YET = "not yet: the work continues"


def print_receipt(receipt: pb.ErasureReceipt) -> None:
    """Print a receipt for a person."""
    rows = [
        ("raw records", f"{counted(receipt.hits, 'hit')} blanked, {counted(receipt.raw_records, 'record')} rewritten"),
        ("log", _log_text(receipt)),
        ("claims", f"{counted(receipt.claims, 'claim')} on orders and refunds removed"),
        ("refusals", f"{counted(receipt.refusals, 'refusal')} emptied"),
        ("carries", f"{counted(receipt.carries, 'recomputed site-day')} cleaned"),
        (
            "reports",
            f"{counted(receipt.site_days, 'site-day')} published, "
            f"{counted(receipt.generations, 'replaced generation')} removed",
        ),
        ("open days", ", ".join(map(date_text_of, receipt.open_utc_dates)) or "none"),
        ("scan", _scan_text(receipt)),
    ]
    echo()
    print_table(("store", "receipt"), rows, right_from=2)


def receipt_fields(receipt: pb.ErasureReceipt) -> dict[str, Any]:
    """Return a receipt's JSON."""
    counts = (*("hits", "raw_records", "log_records", "claims", "refusals", "carries", "site_days", "generations"),)
    return {
        "until_time": receipt.until_time.ToJsonString(),
        **{name: int(getattr(receipt, name)) for name in counts},
        "open_utc_dates": [date_text_of(date) for date in receipt.open_utc_dates],
        "log_until_time": receipt.log_until_time.ToJsonString() if receipt.HasField("log_until_time") else None,
        "proven_time": receipt.proven_time.ToJsonString() if receipt.HasField("proven_time") else None,
        "scanned": dict(sorted(receipt.scanned.items())),
        "waiting": receipt.waiting or None,
    }


def _log_text(receipt: pb.ErasureReceipt) -> str:
    if receipt.HasField("log_until_time"):
        return f"contains the hits until {receipt.log_until_time.ToJsonString()}, when its retention removes the hits"
    return f"{counted(receipt.log_records, 'record')} rewritten"


def _scan_text(receipt: pb.ErasureReceipt) -> str:
    if not receipt.HasField("proven_time"):
        return _NOT_YET
    read = ", ".join(f"{count:,} {store.replace('_', ' ')}" for store, count in sorted(receipt.scanned.items()))
    return f"nothing found at {receipt.proven_time.ToJsonString()} ({read})"
