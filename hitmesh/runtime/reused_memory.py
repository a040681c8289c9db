"""Environment variables with which a process keeps freed memory for a few seconds and uses the memory again.

A settlement allocates and frees gigabytes a second. By default, Polars' allocator returns memory to the operating
system after 0.5 s, and glibc returns each large array at once. With the allocators' defaults, a settlement spent a
fifth of the CPU time on page faults. The peak memory use hardly rises, because all settlements need about the same
memory. The allocators read the variables when the process starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REUSED_MEMORY: Final[Mapping[str, str]] = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:5000,muzzy_decay_ms:5000",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
}
"""The variables to set for a process that settles days, keyed by variable name."""
