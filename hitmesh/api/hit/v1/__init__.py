"""Generated from proto/hitmesh/api/hit/v1 by `make proto`."""
