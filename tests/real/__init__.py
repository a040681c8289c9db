"""Tests of the adapters and both serving paths on real Kafka, Cassandra and Druid."""
