"""Find a single hit in the stores and explain its fate."""
