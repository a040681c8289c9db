"""Code that all layers of tests share, because no layer imports another: builders, meshes, servers, waiting."""
