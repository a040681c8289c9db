"""Generated from proto/hitmesh/collector by `make proto`."""
