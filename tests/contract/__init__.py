"""Contract tests for every port: one class per port, run on every adapter."""
