"""Generated from proto/hitmesh/reporter by `make proto`."""
