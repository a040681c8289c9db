"""Numbered CQL files. An applied file never changes; each change to the schema is a new file."""
