"""Readers of other people's files: lines in, hits and reasons to skip out. Pure; they know no file, mesh or site."""
