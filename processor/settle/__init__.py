"""Settlement recomputes closed days from raw hits, compares the days with the stream's results and publishes them."""
