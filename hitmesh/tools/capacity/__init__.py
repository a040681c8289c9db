"""Capacity: which servers and pods a load needs, computed from measured numbers. Pure."""
