"""Generated from proto/hitmesh/api/reporter/v1 by `make proto`."""
