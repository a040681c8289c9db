"""What tests borrow: builders, meshes, servers, waiting. No layer of tests imports another."""
