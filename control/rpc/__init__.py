"""The RPCs of the control service: a file each, below the name of their service."""
