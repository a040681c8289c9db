"""The operations service's RPCs, each in a separate file."""
