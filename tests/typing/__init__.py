"""Calls that must not type-check. mypy reads these modules; no code runs them.

Each wrong line ignores exactly the expected error. Strict mypy reports an unneeded ignore, so a type that became too
wide fails `make types`.
"""
