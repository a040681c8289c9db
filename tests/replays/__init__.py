"""Tests that send whole files through the mesh on a simulated clock. These replays take minutes."""
