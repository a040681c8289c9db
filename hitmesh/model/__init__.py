"""The shared vocabulary: pure values and functions that every service uses.

The modules of this package import no project module outside hitmesh.model.
"""
