"""Readers for the files of other programs.

A reader converts each line to a hit, or to the reason for skipping the line. The readers are pure, and get the lines as
arguments.
"""
