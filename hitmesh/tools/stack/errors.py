"""The error that operations on the local servers raise; every message ends with a remedy."""

from __future__ import annotations


class StackError(Exception):
    """A required server, jar or program is unavailable; the message names the missing part and the remedy."""
