"""Generated from proto/hitmesh/api/hit by `make proto`."""
