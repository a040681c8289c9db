"""The shared vocabulary: pure values and functions that every service uses.

Imports no project module outside hitmesh.model.
"""
