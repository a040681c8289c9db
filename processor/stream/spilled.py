"""Writes kept hits to Arrow files on local disk (journey step 5, architecture A5).

The live stream's state does no I/O except through this module. The files are a cache of the log. Each file is unlinked
when it is mapped, so no file outlives the process.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import polars as pl
import pyarrow as pa


class SpillFiles:
    """Writes rows to files and maps the files into memory.

    Args:
        directory: a directory on a local disk. If the directory is missing, it is created.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def spill(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the same rows, mapped from a file that is already unlinked."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{secrets.token_hex(8)}.arrow"
        # The file has a single Arrow batch. With several batches, a lookup would have to search each batch.
        whole = rows.to_arrow(compat_level=pl.CompatLevel.newest()).combine_chunks()
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, whole.schema) as writer:
            writer.write_table(whole)
        # Polars alone would read the file into memory. Arrow maps the file into memory. Polars uses the mapping without
        # a copy.
        mapped = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
        path.unlink()
        assert isinstance(mapped, pl.DataFrame)
        return mapped
