"""The RPCs, a file each: limits, checks, and a few lines that read and answer."""
