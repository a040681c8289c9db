"""Benchmarks: throughput per core and latency (`make bench`); never a pass/fail test on time."""
