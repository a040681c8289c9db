"""Rules that every store obeys, shared so that adapters cannot differ."""
