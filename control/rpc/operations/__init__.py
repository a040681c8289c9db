"""The operations service's RPCs, a file each."""
