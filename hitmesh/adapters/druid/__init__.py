"""Druid adapter for report rows: ingestion and queries."""
