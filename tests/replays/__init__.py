"""Whole files through the pipeline on a simulated clock; replays take minutes, so they are separate from properties."""
