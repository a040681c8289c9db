"""Ask both stores of a mesh on real servers the same questions as a mesh in memory and the reference model."""
