"""The admin service's RPCs, each in a separate file."""
