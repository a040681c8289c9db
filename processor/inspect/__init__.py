"""Find a single hit in the stores and explain how the hit counts."""
