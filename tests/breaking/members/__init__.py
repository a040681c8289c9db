"""Real servers die, freeze and return under load: every acknowledged hit is counted exactly once.

The tests in this directory harm servers that other tests use, so they must run separately, after all other tests.
"""
