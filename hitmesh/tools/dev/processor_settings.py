"""Finds out which option of `hitmesh dev` gave the processor a wrong setting. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable


def setting_named_in(message: str, settings: Iterable[str]) -> str | None:
    """Return the first setting in `settings` whose environment variable occurs in the message, or None.

    The processor's message contains only the variable, so `hitmesh dev` must name the option.

    Example:
        >>> setting_named_in("environment variable HITMESH_PROCESSOR_FOO is not a setting", ["LOGIC", "FOO"])
        'FOO'
    """
    named = re.findall(r"\bHITMESH_PROCESSOR_(\w+)", message)
    return next((name for name in settings if name in named), None)
