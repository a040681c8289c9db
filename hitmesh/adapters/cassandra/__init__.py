"""Cassandra adapters for sites and keys, raw records, settlement, series, ledger and snapshots."""
