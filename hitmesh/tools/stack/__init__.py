"""Run real Kafka, Cassandra, ZooKeeper and Druid as local processes: fetch, start, check, stop. Needs no drivers."""
