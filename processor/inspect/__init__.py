"""Finds a single hit in the stores, and explains how the hit counts."""
