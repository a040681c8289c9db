"""Step 8 of the journey: turn rows into an aligned, typed series with freshness."""
