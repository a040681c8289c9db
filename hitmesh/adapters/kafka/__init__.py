"""Kafka adapters: the log, and the rollup topics that Druid reads."""
