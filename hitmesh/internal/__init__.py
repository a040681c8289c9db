"""Generated from proto/hitmesh/internal by `make proto`."""
