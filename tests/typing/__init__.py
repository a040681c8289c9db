"""Calls that must not type-check. Only mypy reads these modules; they are never run.

Each wrong line has a comment that ignores exactly the expected error. Strict mypy reports a comment that ignores no
error. If a type becomes too wide, `make types` therefore fails.
"""
