"""Erases visitors (kind ERASE).

Removes the hits that a visitor has sent, and refuses these hits if they are sent again. `visitors`, which is pure,
recognises erased visitors by their marks. `records` blanks rows. `erasing` defines the order in which hits disappear
from the stores. `proof` then searches the stores for remaining hits.
"""
