"""Settlement: recompute closed days from raw hits, compare them with the stream's results, and publish them."""
