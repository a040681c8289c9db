"""Generated from proto/hitmesh/api/error/v1 by `make proto`."""
