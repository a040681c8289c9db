"""What is measured, never timed in a test that passes or fails: throughput per core and latency (`make bench`)."""
