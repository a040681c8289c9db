"""Tests that kill, suspend and disturb processes and servers."""
