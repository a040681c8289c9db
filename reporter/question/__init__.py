"""Step 7 of the journey: check a question and plan the queries. Pure."""
