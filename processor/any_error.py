"""The exception types that a background thread must catch: a Polars panic is a BaseException, not an Exception."""

from __future__ import annotations

from typing import Final

import polars as pl

ANY_ERROR: Final = (Exception, pl.exceptions.PanicException)
"""Every error that a bug in one site-day or in a shadow stream may raise. The thread logs it and goes on."""
