"""Settlement (step S of the journey): closed days computed again from raw hits, compared and published."""
