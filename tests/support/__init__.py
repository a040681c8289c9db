"""Shared helpers: builders, meshes, servers, waiting. No layer of tests imports another layer."""
