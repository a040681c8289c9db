"""Erase visitors (kind ERASE): find and remove a visitor's earlier hits, and refuse these hits later.

`visitors` recognises erased visitors from their marks and is pure. `records` blanks rows. `erasing` defines the order
in which hits disappear from the stores, and `proof` scans the stores afterwards.
"""
