"""Generated from proto/hitmesh/api/collector by `make proto`."""
