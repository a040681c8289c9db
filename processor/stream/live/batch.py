"""Classifies a step's hits and computes their keys (journey steps 4 and 5, rule T4).

The record's log time decides whether a hit is on time, late or history. A hit's class does not depend on other hits or
on the partition's state.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.keys import visitors_of
from hitmesh.model.limits import CLOSED_AFTER_MS, LATENESS_MS
from hitmesh.model.rows.stream_columns import EPOCH_MS
from hitmesh.model.zones import DAY_MS

_MULTIPLIERS: Final = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F))


def epoch_of(log_time: int) -> int:
    """Return the start of the epoch that contains a log time."""
    return log_time - log_time % EPOCH_MS


def epochs_of(log_times: I64Array) -> I64Array:
    """Return the start of the epoch that contains each log time (n,)."""
    return log_times - log_times % EPOCH_MS


def are_history(event_times: I64Array, log_times: I64Array) -> BoolArray:
    """Return whether each hit's UTC day was closed at the hit's log time (n,)."""
    return log_times > (event_times // DAY_MS + 1) * DAY_MS + CLOSED_AFTER_MS


def are_on_time(event_times: I64Array, log_times: I64Array) -> BoolArray:
    """Return whether each hit's log time is at most the allowed lateness after its event time (n,)."""
    return log_times - event_times <= LATENESS_MS


def hit_ids(keys: U64Array, hit_hashes: U64Array) -> U64Array:
    """Return a hash of each hit's (site, visitor, hit id), the triple that copies share (rule D1)."""
    mixed = visitors_of(keys) ^ (hit_hashes * _MULTIPLIERS[0])
    mixed ^= mixed >> np.uint64(31)
    mixed *= _MULTIPLIERS[1]
    ids: U64Array = mixed ^ (mixed >> np.uint64(29))
    return ids
