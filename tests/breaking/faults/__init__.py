"""Faults that affect a single mesh on real servers. Each hit must still count once, and memory must stay flat."""
