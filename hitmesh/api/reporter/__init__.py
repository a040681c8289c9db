"""Generated from proto/hitmesh/api/reporter by `make proto`."""
