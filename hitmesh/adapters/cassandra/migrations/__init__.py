"""Numbered CQL files: what each one makes stays as it is; a change is a new file."""
