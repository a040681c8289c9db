"""`hitmesh doctor`: checks a mesh from outside. No service imports this package.

A check is a value: a function that gathers facts, and a pure function that turns facts into findings.
"""
