"""The live stream (steps 4 to 6 of a hit's journey) reads, applies and commits records, flushes values and recovers."""
