"""Generated from proto/hitmesh/admin by `make proto`."""
