"""Tests that send whole files through the mesh on a simulated clock. The replays take minutes."""
