"""Generated from proto/hitmesh/collector/v1 by `make proto`."""
