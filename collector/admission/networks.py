"""Returns the truncated client address that is stored with a hit.

If the visitor's consent or the site forbids addresses, no address is stored.
"""

from __future__ import annotations

import numpy as np

from collector.admission.batches import Batches
from collector.admission.texts import Texts
from hitmesh.model.arrays import BoolArray, I32Array


def stored_networks(frame: I32Array, sender: I32Array, denied: BoolArray, batches: Batches) -> Texts | None:
    """Return each hit's truncated address, or "" if it is not stored. If no hit's address can be stored, return None.

    Args:
        frame: the frame of each hit.
        sender: the sender of each hit.
        denied: whether the visitor denied consent.
        batches: the facts of each frame and sender.
    """
    senders = batches.senders
    allowed = np.array([site.rules.networks_since is not None for site in senders.sites], dtype=np.bool_)
    if batches.network is None or not allowed.any():
        return None
    kept = allowed[senders.site[sender]] & ~denied
    networks = batches.network.rows(frame)
    at = np.flatnonzero(kept)
    return networks.rows(at).scattered(at, len(frame))
