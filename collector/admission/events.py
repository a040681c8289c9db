"""Checks payloads without money, such as screens, events, engagement, performance and checkout steps.

Decides which values in a payload are accepted. The module `payloads` decodes the payloads before these checks.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from collector.admission.payloads import Part
from collector.admission.texts import has_control
from collector.admission.verdicts import shown
from hitmesh.model.reasons import HitReason

MAX_NAME_BYTES: Final = 256
MAX_TERM_BYTES: Final = 256
MAX_VIEW_ID_BYTES: Final = 64
MAX_ERROR_NAME_BYTES: Final = 128
MAX_ERROR_BYTES: Final = 500
MAX_FOREGROUND_MS: Final = 3_600_000
MAX_SCROLL_PERCENT: Final = 100
MAX_TIMING_MS: Final = 600_000
MAX_STEP: Final = 10
MAX_EVENT_NAME_BYTES: Final = 128
_TIMINGS: Final = ("dns_ms", "connect_ms", "ttfb_ms", "fcp_ms", "lcp_ms", "load_ms", "inp_ms", "cls_e4")


def check_screen(part: Part) -> None:
    """Check SCREEN_VIEW; store the screen name as page path."""
    name = part.text("screen_name", MAX_NAME_BYTES)
    part.text("view_id", MAX_VIEW_ID_BYTES)
    part.need("screen_name", np.zeros(len(part.rows), np.bool_) if name is None else name.is_set(), "name the screen")
    part.keep_text("page_path", name)


def check_event(part: Part) -> None:
    """Check EVENT, which must have a name. The client may declare the hit non-interactive."""
    name = part.text("name", MAX_EVENT_NAME_BYTES)
    part.need("name", np.zeros(len(part.rows), np.bool_) if name is None else name.is_set(), "name the event")
    if name is not None:
        part.verdicts.refuse(
            name.among(has_control),
            HitReason.INVALID_FIELD,
            "event.name",
            lambda at: (
                f"event.name {shown(name.value(at))} holds a control character or a line break: use printable text"
            ),
        )
    value = part.payload.column("value").fill_null(0.0).to_numpy()
    part.verdicts.refuse(
        ~np.isfinite(value),
        HitReason.INVALID_FIELD,
        "event.value",
        lambda at: f"event.value {value[at]} is not a finite number: send a finite number, or leave out value",
    )
    part.keep_text("event_name", name)
    part.columns.set_false("interactive", part.rows[~np.asarray(part.payload.column("interactive").fill_null(True))])


def check_engagement(part: Part) -> None:
    """Check ENGAGEMENT. Store the number of milliseconds for which the page was in the foreground."""
    part.text("view_id", MAX_VIEW_ID_BYTES)
    foreground_ms = part.numbers("foreground_ms")
    part.within("foreground_ms", foreground_ms, 0, MAX_FOREGROUND_MS)
    part.within("scroll_percent", part.numbers("scroll_percent"), 0, MAX_SCROLL_PERCENT)
    part.keep_numbers("foreground_ms", foreground_ms)


def check_performance(part: Part) -> None:
    """Check PERFORMANCE, which contains a page's load timings."""
    part.text("view_id", MAX_VIEW_ID_BYTES)
    for name in _TIMINGS:
        part.within(name, part.numbers(name), 0, MAX_TIMING_MS)


def check_checkout(part: Part) -> None:
    """Check CHECKOUT_STEP; store the step number."""
    part.text("cart_id", MAX_VIEW_ID_BYTES)
    step = part.numbers("step")
    part.need("step", step != 0, f"send 1 to {MAX_STEP}")
    part.within("step", step, 1, MAX_STEP)
    part.keep_numbers("checkout_step", step)


def check_search(part: Part) -> None:
    """Check SITE_SEARCH, which contains the search term."""
    part.text("term", MAX_TERM_BYTES)


def check_exception(part: Part) -> None:
    """Check EXCEPTION, which contains an error's name and message."""
    part.text("name", MAX_ERROR_NAME_BYTES)
    part.text("message", MAX_ERROR_BYTES)


def check_identify(part: Part) -> None:
    """Accept every IDENTIFY hit; only the bytes of its payload are stored."""
