"""Tests on real Kafka, Cassandra and Druid: the adapters and both serving paths."""
