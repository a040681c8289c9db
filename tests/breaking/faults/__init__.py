"""Faults on real servers that leave other meshes unharmed: each hit still counts once, memory stays flat."""
