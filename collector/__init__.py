"""The collector: receives hits, admits or refuses each, and acknowledges them once the log has stored them."""
