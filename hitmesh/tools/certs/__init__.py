"""Certificates of a mesh: an authority for development, and the certificates that identify the parts to each other."""
