"""Each question goes to both stores of a mesh on real servers, to one in memory, and to the reference model."""
