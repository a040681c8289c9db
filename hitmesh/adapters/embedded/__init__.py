"""Embedded adapters for a single machine: SQLite files and Parquet segments, shared by concurrent processes."""
