"""Hits in JSON may have quantities with decimals, which the field `quantity` of the protobuf message cannot hold.

The collector and the replay of rejected hits read JSON with the functions of this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

MAX_NESTING: Final = 32
"""Maximum nesting of JSON in a hit."""
_PAYLOADS: Final = ("order", "cart", "productView", "product_view")


def readings(hit: object) -> Iterator[dict[str, Any]]:
    """Yield the hit unchanged.

    If any quantity is not whole, also yield the hit with `quantityExact` for these quantities.

    Example:
        >>> list(readings({"cart": {"items": [{"quantity": 1.5}]}}))[-1]
        {'cart': {'items': [{'quantityExact': 1.5}]}}
    """
    if not isinstance(hit, dict):
        return
    yield hit
    exact = {payload: _made_exact(hit[payload]) for payload in _PAYLOADS if payload in hit}
    if any(made is not hit[payload] for payload, made in exact.items()):
        yield {**hit, **exact}


def _made_exact(payload: Any) -> Any:
    """Return a payload with `quantityExact` for quantities that are not whole, or the same object if all are whole."""
    if not isinstance(payload, dict):
        return payload
    made = dict(payload)
    if isinstance(payload.get("items"), list):
        items = [_exact_item(item) for item in payload["items"]]
        if any(new is not old for new, old in zip(items, payload["items"], strict=True)):
            made["items"] = items
    if "item" in payload:
        made["item"] = _exact_item(payload["item"])
    return made if any(made[name] is not payload[name] for name in made) else payload


def _exact_item(item: Any) -> Any:
    quantity = item.get("quantity") if isinstance(item, dict) else None
    try:
        number = float(quantity) if isinstance(quantity, float | str) else 0.0
    except ValueError:
        return item
    if number.is_integer() or "quantityExact" in item or "quantity_exact" in item:
        return item
    exact = {name: value for name, value in item.items() if name != "quantity"}
    return {**exact, "quantityExact": number}
