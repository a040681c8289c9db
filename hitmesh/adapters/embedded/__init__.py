"""Everything on one machine: SQLite files and Parquet segments, shared by several processes at the same time."""
