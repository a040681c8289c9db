"""Readers of third-party files: they convert lines to hits, or to reasons for skipping. Pure; lines are arguments."""
