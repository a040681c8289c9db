"""Calls that must not type-check. Only mypy reads these modules; they are never run.

Each wrong line has a comment that ignores exactly the expected error. If a type becomes too wide, the expected error
disappears. Strict mypy then reports the comment as unused, and `make types` fails.
"""
