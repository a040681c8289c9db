"""Generated from proto/hitmesh/log/v1 by `make proto`."""
