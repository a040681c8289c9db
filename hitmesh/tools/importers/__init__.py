"""Readers of third-party files: lines in, hits and skip reasons out. Pure; no access to files, mesh or sites."""
