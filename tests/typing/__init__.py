"""Calls that must not type-check. mypy reads them, nothing runs them.

Each wrong line carries an ignore with the one error it must give; in strict mode mypy reports an ignore that is not
needed, so a type that became too wide fails `make types`.
"""
