"""Admission (step 2 in docs/walk.md) decides which hits are accepted, and how each accepted hit is stored.

Admission is pure, and works on columns. `read_frames` counts the hits and lists the senders. `decode` converts frames
to a single table. `admit` decides. Read the module `decide` first, then `hits`, which calls the decisions in order.
Each other module in this package implements one decision.
"""

from __future__ import annotations

from collector.admission.batches import SITE_FIELD, Grant, Refusal
from collector.admission.decide import Admitted, admit, decode
from collector.admission.envelopes import Frame, Sender
from collector.admission.frames import Decoded, read_frames
from collector.admission.verdicts import Issue, Outcome

__all__ = [
    "SITE_FIELD",
    "Admitted",
    "Decoded",
    "Frame",
    "Grant",
    "Issue",
    "Outcome",
    "Refusal",
    "Sender",
    "admit",
    "decode",
    "read_frames",
]
