"""Faults that affect a single mesh on real servers.

In spite of the fault, each hit must count once. Memory must stay flat.
"""
