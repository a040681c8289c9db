"""Generated from proto/hitmesh/api by `make proto`."""
