"""The collector: receives hits, decides which are taken, and acknowledges them once the log holds them."""
