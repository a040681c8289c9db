"""Erases visitors (kind ERASE): removes the hits that a visitor has sent, and refuses them if they come again.

`visitors` recognises erased visitors from their marks and is pure. `records` blanks rows. `erasing` defines the order
in which hits disappear from the stores, and `proof` scans the stores afterwards.
"""
