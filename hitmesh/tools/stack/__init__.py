"""Real Kafka, Cassandra, ZooKeeper and Druid as local processes: fetched, started, watched, stopped. No drivers."""
