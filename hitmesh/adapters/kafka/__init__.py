"""The log, and what goes from it to Druid, in Kafka."""
