"""Settlement (step S of the journey): recompute closed days from raw hits, compare and publish them."""
