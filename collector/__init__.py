"""The collector receives hits, and accepts or refuses each hit.

The collector acknowledges hits after the log has stored them.
"""
