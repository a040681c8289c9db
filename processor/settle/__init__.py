"""Settlement: recomputes closed days from raw hits, compares them with the stream's results, and publishes them."""
