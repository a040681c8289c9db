"""Generated from proto/hitmesh/api/error by `make proto`."""
