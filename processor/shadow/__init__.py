"""Shadow streams: a corrected stream runs in parallel to the live stream, and can replace it without downtime (A9)."""
