"""Benchmarks of throughput per core and latency (`make bench`). No benchmark fails because it is slow."""
