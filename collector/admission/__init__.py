"""Admission (step 2 of the journey): decide which hits are accepted and how each is stored. Pure and columnar.

`read_frames` counts hits and lists senders, `decode` turns frames into a single table, `admit` decides. Read `decide`
first, then `hits`, which makes all decisions in order. Every other module implements a single decision.
"""

from __future__ import annotations

from collector.admission.batches import Grant, Refusal
from collector.admission.decide import Admitted, admit, decode
from collector.admission.envelopes import Frame, Sender
from collector.admission.frames import Decoded, read_frames
from collector.admission.verdicts import Issue, Outcome

__all__ = [
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
