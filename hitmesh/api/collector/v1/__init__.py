"""Generated from proto/hitmesh/api/collector/v1 by `make proto`."""
