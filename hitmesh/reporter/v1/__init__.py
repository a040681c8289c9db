"""Generated from proto/hitmesh/reporter/v1 by `make proto`."""
