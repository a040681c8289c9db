"""Numbered CQL files. A file that has been applied must never change; each change to the schema needs a new file."""
