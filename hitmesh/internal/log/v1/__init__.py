"""Generated from proto/hitmesh/internal/log/v1 by `make proto`."""
