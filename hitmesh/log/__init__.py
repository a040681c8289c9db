"""Generated from proto/hitmesh/log by `make proto`."""
