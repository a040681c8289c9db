"""Generated from proto/hitmesh/hit/v1 by `make proto`."""
