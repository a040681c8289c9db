"""Generated from proto/hitmesh/hit by `make proto`."""
