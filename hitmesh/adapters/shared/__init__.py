"""Rules that every store obeys. Adapters share this code, so that their results cannot differ."""
