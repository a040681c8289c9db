"""The admin service's RPCs, a file each."""
