"""Cassandra adapters."""
