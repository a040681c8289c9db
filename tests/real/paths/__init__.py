"""Tests that ask each question of both stores of a mesh on real servers, a mesh in memory, and the reference model."""
