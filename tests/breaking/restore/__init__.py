"""A stack is restored from a backup. The tests in this directory use a stack of their own."""
