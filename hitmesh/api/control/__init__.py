"""Generated from proto/hitmesh/api/control by `make proto`."""
