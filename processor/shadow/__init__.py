"""Shadow streams: a corrected stream runs beside the live stream, and can replace it without downtime (A9)."""
