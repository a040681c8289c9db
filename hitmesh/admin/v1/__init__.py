"""Generated from proto/hitmesh/admin/v1 by `make proto`."""
