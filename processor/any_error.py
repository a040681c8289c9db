"""Lists the exception types that a background thread must catch.

A Polars panic is a BaseException, not an Exception.
"""

from __future__ import annotations

from typing import Final

import polars as pl

ANY_ERROR: Final = (Exception, pl.exceptions.PanicException)
"""All errors that a bug may raise while a thread processes a site-day or a shadow stream.

The thread must catch and log the error, and continue.
"""
