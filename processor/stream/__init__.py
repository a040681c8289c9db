"""The live stream (steps 4 to 6 of the journey): read, apply, commit, flush, recover."""
