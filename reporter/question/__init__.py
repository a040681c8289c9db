"""Step 7 of the journey: a question is checked and becomes a plan. Pure."""
