"""Generated from proto/hitmesh/internal/log by `make proto`."""
