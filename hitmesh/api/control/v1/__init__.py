"""Generated from proto/hitmesh/api/control/v1 by `make proto`."""
