"""Tests that kill, stop and starve processes and servers."""
