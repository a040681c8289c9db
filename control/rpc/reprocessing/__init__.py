"""The reprocessing service's RPCs, each in a separate file."""
