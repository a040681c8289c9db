"""The collector receives hits, and accepts or refuses each hit. It acknowledges hits after the log has stored them."""
