"""Shadow streams: a corrected stream beside the live stream, published and taken over without downtime (A9)."""
