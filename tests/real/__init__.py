"""Tests of adapters and of both serving paths on real Kafka, Cassandra and Druid."""
