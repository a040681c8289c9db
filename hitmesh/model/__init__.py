"""The vocabulary of the mesh: pure values and functions that every service shares.

Imports nothing of the project outside itself.
"""
