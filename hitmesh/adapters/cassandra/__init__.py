"""Cassandra adapters for sites, keys, raw records, settlement, series, ledger and snapshots."""
