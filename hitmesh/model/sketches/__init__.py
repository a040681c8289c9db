"""Distinct counts: theta sketches as columns, and their unions."""
