"""Erases visitors (kind ERASE): finds and removes a visitor's earlier hits, and refuses such hits from then on.

`visitors` recognises erased visitors from their marks and is pure. `records` blanks rows. `erasing` defines the order
in which hits disappear from the stores, and `proof` scans the stores afterwards.
"""
