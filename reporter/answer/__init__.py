"""Step 8 of the journey: rows become an aligned, typed series with its freshness."""
