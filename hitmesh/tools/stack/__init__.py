"""Run real Kafka, Cassandra, ZooKeeper and Druid as local processes: fetch, start, watch, stop. Needs no drivers."""
