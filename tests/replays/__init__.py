"""Whole files through the pipeline on a clock of their own; minutes each, so not among the properties."""
