"""Each question goes to both stores of a mesh on real servers, to a mesh in memory, and to the reference model."""
