"""Contract tests for every port. Each port has a test class, which runs on every adapter."""
