"""Admission: which hits are taken, and what is stored of them (step 2 of the journey). Pure and columnar.

`read_frames` counts hits and finds senders, `decode` turns frames into one table, `admit` decides. Read `decide`, then
`hits`: the order of all decisions. Each other module is one of them.
"""

from __future__ import annotations

from collector.admission.batches import Grant, Refusal
from collector.admission.decide import Admitted, admit, decode
from collector.admission.envelopes import Frame, Sender
from collector.admission.frames import Decoded, read_frames
from collector.admission.verdicts import Issue, Outcome, Reason

__all__ = [
    "Admitted",
    "Decoded",
    "Frame",
    "Grant",
    "Issue",
    "Outcome",
    "Reason",
    "Refusal",
    "Sender",
    "admit",
    "decode",
    "read_frames",
]
