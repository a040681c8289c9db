"""Real servers die, fall asleep and come back under load: what was acknowledged is counted once, whatever happens.

These tests harm the servers that other tests use, so they run apart, after all others.
"""
