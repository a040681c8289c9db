"""Rules that every store obeys, so that adapters cannot differ in them."""
