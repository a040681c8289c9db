"""Readers for the files of other programs.

A reader converts a line to a hit, or returns the reason why the line is skipped. The readers are pure, and get the
lines as arguments.
"""
